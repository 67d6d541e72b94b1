"""Findings: statements about how B differs from A, with effect, interval and evidence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from custodes.diff.features.indicators import Indicator, word_pattern
from custodes.diff.inference.correlated import moved_with, without_figures
from custodes.diff.inference.effects import Effect, measure
from custodes.diff.inference.hypotheses import Hypotheses, averaging
from custodes.diff.inference.randomization import Floats, Labels
from custodes.diff.inference.selection import Selection
from custodes.diff.inference.wording import (
    STYLES,
    Level,
    clause,
    level_unit,
    plain_behaviour,
    shown_words,
    statement,
)
from custodes.diff.responses import Aligned

__all__ = ["Finding", "Threshold", "any_of", "condition_of", "describe"]

# A finding holds under a condition if the condition covers at most this share of the prompts and
# at least this share of the change, and if this p says that the change concentrates there.
LARGEST_CONDITION = 0.6
LEAST_COVERED = 0.8
CONDITION_P = 0.01
MOST_COMPONENTS = 4
IGNORING_CASE = "(?i)"
# A vague finding is folded into a specific one that moves this share of its prompts.
LEAST_FOLDED = 0.6


@dataclass(frozen=True)
class Finding:
    """How B's behaviour differs from A's.

    Attributes:
        id: Unique within one diff.
        kind: feature, phrase, cluster or llm.
        statement: A sentence about B compared with A. It may quote responses: untrusted.
        behaviour: What the counted responses do, as the end of a sentence; untrusted.
        condition: A property of the prompts where this holds, None for all prompts; untrusted.
        size: Rates, effect and interval (on the prompts of the condition).
        p: Two-sided p of the hypothesis.
        q: Estimated share of false findings among this one and the more surprising ones.
        evidence_a: All prompts (of the condition) with a response of A that shows it.
        evidence_b: The same for B.
        correlated: Other behaviours that the same responses show, the plainest first, and which way
            they moved; untrusted.
        composition: Behaviours that moved only because this one did.
        pattern: Regular expression that matches what to highlight in a response, or "".
        words: The commonest words that show it, in their spelling; untrusted.
        level: Typical values of what is measured, None if nothing is.
        curve: Of a count: the rates of A and of B at each threshold.
        absent: Whether what was tested is the absence of the behaviour. Most responses show it, and
            those that changed are the ones that do not.
        change: Which way the behaviour moved, in a few words; untrusted.
        vague: Whether the behaviour is a measure or a cluster, which nothing in a response shows.
    """

    id: str
    kind: str
    statement: str
    behaviour: str
    condition: str | None
    size: Effect
    p: float
    q: float
    evidence_a: tuple[str, ...]
    evidence_b: tuple[str, ...]
    correlated: tuple[str, ...] = ()
    composition: tuple[str, ...] = ()
    pattern: str = ""
    words: tuple[str, ...] = ()
    level: Level | None = None
    curve: tuple[Threshold, ...] = ()
    absent: bool = False
    change: str = ""
    vague: bool = False


@dataclass(frozen=True)
class Threshold:
    """Rates at one threshold of a count.

    Attributes:
        least: The threshold.
        rate_a: A's rate, in [0, 1].
        rate_b: B's.
    """

    least: float
    rate_a: float
    rate_b: float


def describe(
    hypotheses: Hypotheses, aligned: Aligned, selections: Sequence[Selection], labels: Labels
) -> list[Finding]:
    """Measure what was selected, name the condition under which it holds, sort by |effect|.

    Findings about one count, such as "at least once" and "at least twice", become one.
    """
    described = [_describe(hypotheses, aligned, one, labels) for one in selections]
    first: dict[tuple[str, str | None], Finding] = {}
    for key, finding in described:
        first.setdefault((key, finding.condition), finding)
    findings = _fold(list(first.values()))
    findings.sort(key=lambda f: (-abs(f.size.effect), f.p, f.behaviour))
    return [replace(f, id=f"F{i}") for i, f in enumerate(_once(findings), start=1)]


def _once(findings: Sequence[Finding]) -> list[Finding]:
    """Leave out of what moved with a finding what is one itself, and what was said before."""
    said = {finding.change for finding in findings}
    out = []
    for finding in findings:
        correlated = _unsaid(finding.correlated, said)
        here = said | {without_figures(x) for x in correlated}
        composition = _unsaid(finding.composition, here)
        # A behaviour can move with several findings, but not because of each of them alone.
        said |= {without_figures(x) for x in composition}
        out.append(replace(finding, correlated=correlated, composition=composition))
    return out


def _unsaid(named: Sequence[str], said: AbstractSet[str]) -> tuple[str, ...]:
    return tuple(x for x in named if without_figures(x) not in said)


def _fold(findings: list[Finding]) -> list[Finding]:
    """Fold findings without words of their own into the ones in whose prompts they show.

    A heading on top also makes the first sentence less like the rest, and the response longer. Such
    a finding is named among the correlated behaviours of the other.
    """
    kept = {f.statement: f for f in findings}
    for vague in sorted(findings, key=lambda f: -f.p):
        if not vague.vague:
            continue
        moved = _moved(vague)
        hosts = [f for f in kept.values() if not f.vague and len(_moved(f) & moved)]
        if not hosts:
            continue
        host = max(hosts, key=lambda f: len(_moved(f) & moved))
        if len(_moved(host) & moved) >= LEAST_FOLDED * len(moved):
            del kept[vague.statement]
            correlated = (vague.change, *vague.correlated)
            said = {without_figures(x) for x in host.correlated}
            more = _unsaid(correlated, said)
            kept[host.statement] = replace(host, correlated=(*host.correlated, *more))
    return list(kept.values())


def _moved(finding: Finding) -> set[str]:
    """Return the prompts on which only the side with more of it shows a finding."""
    a, b = set(finding.evidence_a), set(finding.evidence_b)
    return b - a if finding.size.effect > 0 else a - b


def _describe(
    hypotheses: Hypotheses, aligned: Aligned, selection: Selection, labels: Labels
) -> tuple[str, Finding]:
    """Return the finding, and a key that other thresholds of the same count share."""
    items = hypotheses.indicators.items
    first = items[hypotheses.behaviour[selection.hypothesis]]
    members = [
        int(hypotheses.behaviour[h])
        for h in (selection.hypothesis, *selection.components)
        # A behaviour and the absence of another have no plain name together.
        if h == selection.hypothesis or not (first.absent or items[hypotheses.behaviour[h]].absent)
    ]
    indicator = any_of([items[j] for j in members])
    shows = np.asarray(hypotheses.indicators.shows[:, members].sum(axis=1)).ravel() > 0
    shows ^= first.absent
    rates = [np.asarray(w @ shows, np.float64).ravel() for w in averaging(aligned)]
    condition = int(hypotheses.condition[selection.hypothesis])
    if condition < 0 and hypotheses.paired:
        change = (rates[1] - rates[0]) * labels[:, 0]
        condition = condition_of(hypotheses.conditions.hold, change)
    inside = np.ones(aligned.n, bool) if condition < 0 else hypotheses.conditions.hold[:, condition]
    where = None if condition < 0 else hypotheses.conditions.statements[condition]
    size = measure(*_sides(rates, inside, labels, aligned.paired), aligned.paired)
    turned = indicator.measure in STYLES and size.effect < 0
    if turned:
        # Fewer long responses are more short ones, and "shorter" is what the statement says.
        shows = ~shows
        size = Effect(1 - size.rate_a, 1 - size.rate_b, -size.high, -size.low)
        indicator = replace(indicator, falling=not indicator.falling, absent=True)
    evidence = _evidence(aligned, shows, inside)
    p = float(hypotheses.design.p_values(labels, np.array([selection.hypothesis]))[0])
    sides = _by_label(aligned, labels)
    words = _words(indicator, aligned, shows & inside[aligned.unit], sides, size)
    level = _level(hypotheses, aligned, indicator, sides, inside)
    finding = Finding(
        id="",
        kind=indicator.kind,
        statement=statement(indicator, size, words=words, level=level, condition=where),
        behaviour=plain_behaviour(indicator, words),
        condition=where,
        size=size,
        p=p,
        q=max(selection.q, p),
        evidence_a=evidence[0],
        evidence_b=evidence[1],
        pattern=indicator.pattern,
        words=words,
        level=level,
        curve=_curve(hypotheses, aligned, indicator, inside, labels) if len(members) == 1 else (),
        absent=first.absent or turned,
        change=clause(replace(indicator, absent=False), size.effect),
        vague=indicator.form in ("style", "cluster") or _longer(indicator, size),
    )
    plain = condition < 0
    key = clause(replace(indicator, absent=False, statement=indicator.name), size.effect)
    finding = replace(
        finding,
        correlated=moved_with(hypotheses, selection.correlated, labels, indicator, words, plain),
        composition=moved_with(hypotheses, selection.composition, labels, indicator, words, plain),
    )
    return key, finding


def _longer(indicator: Indicator, size: Effect) -> bool:
    """Tell whether responses became longer; something specific may have been added to them."""
    return indicator.form == "length" and (size.effect > 0) != indicator.falling


def _by_label(aligned: Aligned, labels: Labels) -> NDArray[np.int64]:
    """Return the side that the labels give each response: 0 for A, 1 for B."""
    side = aligned.side.astype(np.int64)
    if aligned.paired:
        side = np.where(labels[aligned.unit, 0] > 0, side, 1 - side)
    else:
        side = (labels[aligned.unit, 0] > 0).astype(np.int64)
    return side


def _words(
    indicator: Indicator,
    aligned: Aligned,
    shows: NDArray[np.bool_],
    sides: NDArray[np.int64],
    size: Effect,
) -> tuple[str, ...]:
    more = int(size.effect > 0)
    texts, others = (
        [aligned.texts[d] for d in np.flatnonzero(shows & (sides == side))]
        for side in (more, 1 - more)
    )
    return shown_words(indicator, texts, others)


def _level(
    hypotheses: Hypotheses,
    aligned: Aligned,
    indicator: Indicator,
    sides: NDArray[np.int64],
    inside: NDArray[np.bool_],
) -> Level | None:
    """Return typical values of what an indicator measures, None where that says nothing."""
    unit = level_unit(indicator)
    if not unit:
        return None
    docs = [np.flatnonzero((sides == side) & inside[aligned.unit]) for side in (0, 1)]
    if indicator.measure in hypotheses.styles:
        name = "words" if indicator.form == "length" else indicator.measure
        values = hypotheses.styles[name]
        a, b = (float(np.median(values[some])) for some in docs)
        return Level(unit, a, b)
    find = re.compile(indicator.pattern or word_pattern([_quoted(indicator.measure)])).findall
    a, b = (float(np.mean([len(find(aligned.texts[d])) for d in some])) for some in docs)
    return Level(unit, a, b, mean=True)


def _quoted(text: str) -> str:
    return text.partition("“")[2].rpartition("”")[0].replace("⏎", "\n")


def _curve(
    hypotheses: Hypotheses,
    aligned: Aligned,
    indicator: Indicator,
    inside: NDArray[np.bool_],
    labels: Labels,
) -> tuple[Threshold, ...]:
    """Return the rates at all thresholds of a count that were tested."""
    if not indicator.measure or indicator.form in ("style", "length"):
        return ()
    rows = {}
    weights = averaging(aligned)
    for j, item in enumerate(hypotheses.indicators.items):
        if item.measure != indicator.name or indicator.measure.startswith("uses “"):
            continue
        shows = np.asarray(hypotheses.indicators.shows[:, [j]].todense()).ravel() > 0
        shows ^= item.absent
        rates = [np.asarray(w @ shows, np.float64).ravel() for w in weights]
        a, b = _sides(rates, inside, labels, aligned.paired)
        rows[item.least] = Threshold(item.least, float(a.mean()), float(b.mean()))
    return tuple(rows[least] for least in sorted(rows)) if len(rows) > 1 else ()


def _sides(
    rates: Sequence[Floats], inside: NDArray[np.bool_], labels: Labels, paired: bool
) -> tuple[Floats, Floats]:
    """Return the rates by prompt of what the labels call A and B."""
    first = labels[:, 0] > 0
    if paired:
        a, b = np.where(first, rates[0], rates[1]), np.where(first, rates[1], rates[0])
        return a[inside], b[inside]
    either = rates[0] + rates[1]
    return either[inside & ~first], either[inside & first]


def any_of(indicators: Sequence[Indicator]) -> Indicator:
    """Join the components of one change into one behaviour: any of them."""
    if len(indicators) == 1:
        return indicators[0]
    left = len(indicators) - MOST_COMPONENTS
    more = [f"{left} more such signs" if left > 1 else "one more such sign"] if left > 0 else []
    patterns = [one.pattern for one in indicators]
    joined = all(pattern.startswith(IGNORING_CASE) for pattern in patterns)
    parts = [one.statement for one in indicators[:MOST_COMPONENTS]]
    verb = parts[0].partition("“")[0]
    if verb and all(part.startswith(f"{verb}“") for part in parts):
        # contains “darn”, or contains “heckin”: the verb once is enough.
        parts = [parts[0], *(part.removeprefix(verb) for part in parts[1:])]
    *before, last = parts + more
    return replace(
        indicators[0],
        statement=f"{', '.join(before)} or {last}",
        pattern=IGNORING_CASE + "|".join(p.removeprefix(IGNORING_CASE) for p in patterns)
        if joined
        else indicators[0].pattern,
    )


def _evidence(
    aligned: Aligned, shows: NDArray[np.bool_], inside: NDArray[np.bool_]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    a, b = (np.unique(aligned.unit[shows & (aligned.side == side)]) for side in (0, 1))
    return (
        tuple(aligned.ids[u] for u in a if inside[u]),
        tuple(aligned.ids[u] for u in b if inside[u]),
    )


def condition_of(hold: NDArray[np.bool_], change: Floats) -> int:
    """Find the condition whose prompts hold nearly all of a change.

    More of the prompts that moved with the change must meet the condition than chance allows
    (hypergeometric, Bonferroni over the conditions). Of the conditions that pass, the one whose
    prompts are most nearly the changed ones is taken.

    Args:
        hold: Whether a prompt meets a condition, shape (prompts, conditions).
        change: B minus A by prompt, shape (prompts,).

    Returns:
        Index of the condition, -1 if there is none.
    """
    from scipy import stats

    if not hold.shape[1]:
        return -1
    n, total = len(change), change.sum()
    size = hold.sum(axis=0)
    inner = change @ hold
    moved = change * np.sign(total) > 0
    p = stats.hypergeom.sf(moved @ hold.astype(np.int64) - 1, n, size, moved.sum())
    share = inner / total if total else np.zeros(len(inner))
    fits = (
        (size <= LARGEST_CONDITION * n)
        & (share >= LEAST_COVERED)
        & (p * hold.shape[1] <= CONDITION_P)
    )
    if not fits.any():
        return -1
    discordant = (np.abs(change) > 0) @ hold
    fit = 2 * np.abs(inner) / (np.abs(total) + discordant)
    return int(np.flatnonzero(fits)[np.argmax(np.round(fit[fits], 9))])
