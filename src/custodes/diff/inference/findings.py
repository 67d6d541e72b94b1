"""Findings: statements about how B differs from A, with effect, interval and evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from custodes.diff.features.indicators import Indicator
from custodes.diff.inference.effects import Effect, measure
from custodes.diff.inference.hypotheses import Hypotheses, averaging
from custodes.diff.inference.randomization import Floats, Labels
from custodes.diff.inference.selection import Selection
from custodes.diff.responses import Aligned

__all__ = ["Finding", "any_of", "condition_of", "describe", "statement"]

# A finding holds under a condition if the condition covers at most this share of the prompts and
# at least this share of the change, and if this p says that the change concentrates there.
LARGEST_CONDITION = 0.6
LEAST_COVERED = 0.8
CONDITION_P = 0.01
MOST_CORRELATED = 12
MOST_COMPONENTS = 4
IGNORING_CASE = "(?i)"


@dataclass(frozen=True)
class Finding:
    """How B's behaviour differs from A's.

    Attributes:
        id: Unique within one diff.
        kind: feature, phrase, cluster or llm.
        statement: A sentence about B compared with A. It may quote responses: untrusted.
        behaviour: The behaviour, as the end of a sentence about a response; untrusted.
        condition: A property of the prompts where this holds, None for all prompts; untrusted.
        size: Rates, effect and interval (on the prompts of the condition).
        p: Two-sided p of the hypothesis.
        q: Estimated share of false findings among this one and the more surprising ones.
        evidence_a: All prompts (of the condition) with a response of A that shows it.
        evidence_b: The same for B.
        correlated: Other behaviours that the same responses show.
        composition: Behaviours that moved only because this one did.
        pattern: Regular expression that matches what to highlight in a response, or "".
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


def describe(
    hypotheses: Hypotheses, aligned: Aligned, selections: Sequence[Selection], labels: Labels
) -> list[Finding]:
    """Measure what was selected, name the condition under which it holds, sort by |effect|."""
    findings = [_describe(hypotheses, aligned, one, labels) for one in selections]
    findings.sort(key=lambda f: (-abs(f.size.effect), f.p, f.behaviour))
    return [replace(finding, id=f"F{i}") for i, finding in enumerate(findings, start=1)]


def _describe(
    hypotheses: Hypotheses, aligned: Aligned, selection: Selection, labels: Labels
) -> Finding:
    members = hypotheses.behaviour[[selection.hypothesis, *selection.components]]
    indicator = any_of([hypotheses.indicators.items[j] for j in members])
    shows = np.asarray(hypotheses.indicators.shows[:, members].sum(axis=1)).ravel() > 0
    rates = [np.asarray(w @ shows, np.float64).ravel() for w in averaging(aligned)]
    condition = int(hypotheses.condition[selection.hypothesis])
    if condition < 0 and hypotheses.paired:
        change = (rates[1] - rates[0]) * labels[:, 0]
        condition = condition_of(hypotheses.conditions.hold, change)
    inside = np.ones(aligned.n, bool) if condition < 0 else hypotheses.conditions.hold[:, condition]
    words = None if condition < 0 else hypotheses.conditions.statements[condition]
    size = measure(*_sides(rates, inside, labels, aligned.paired), aligned.paired)
    evidence = _evidence(aligned, shows, inside)
    p = float(hypotheses.design.p_values(labels, np.array([selection.hypothesis]))[0])
    return Finding(
        id="",
        kind=indicator.kind,
        statement=statement(aligned.names[1], indicator.statement, words, size),
        behaviour=indicator.statement,
        condition=words,
        size=size,
        p=p,
        q=max(selection.q, p),
        evidence_a=evidence[0],
        evidence_b=evidence[1],
        correlated=_names(hypotheses, selection.correlated, plain=condition < 0),
        composition=_names(hypotheses, selection.composition, plain=condition < 0),
        pattern=indicator.pattern,
    )


def statement(name: str, behaviour: str, condition: str | None, size: Effect) -> str:
    """Return the sentence that states a finding.

    Args:
        name: What B is called.
        behaviour: As in `Finding`.
        condition: As in `Finding`.
        size: Rates and effect.
    """
    more = "more" if size.effect > 0 else "less"
    where = f", where the prompt {condition}" if condition else ""
    return f"{name} {behaviour} {more} often{where} ({size.rate_a:.1%} → {size.rate_b:.1%})"


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
    return replace(
        indicators[0],
        statement=", or ".join([one.statement for one in indicators[:MOST_COMPONENTS]] + more),
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


def _names(hypotheses: Hypotheses, which: Sequence[int], *, plain: bool) -> tuple[str, ...]:
    """Name other behaviours; if the finding holds for all prompts, only others that do, too."""
    names = [_name(hypotheses, h) for h in which if not (plain and hypotheses.condition[h] >= 0)]
    return tuple(names[:MOST_CORRELATED])


def _name(hypotheses: Hypotheses, hypothesis: int) -> str:
    name = hypotheses.indicators.items[int(hypotheses.behaviour[hypothesis])].statement
    condition = int(hypotheses.condition[hypothesis])
    if condition < 0:
        return name
    return f"{name}, where the prompt {hypotheses.conditions.statements[condition]}"
