"""Findings: statements about how B differs from A, with effect, interval and evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from custodes.diff.features.indicators import Column
from custodes.diff.inference.effects import Effect, measure
from custodes.diff.inference.hypotheses import Hypotheses, averaging
from custodes.diff.inference.randomization import Labels
from custodes.diff.inference.selection import Selected
from custodes.diff.responses import Aligned

__all__ = ["Finding", "describe"]

# A finding is said to hold under a condition if the condition covers at most this share of the
# prompts, holds this share of the change, and the difference from the rest is this certain.
LARGEST_CONDITION = 0.6
LEAST_COVERED = 0.8
CERTAINTY = 0.01
MOST_ALIASES = 12
MOST_NAMED = 4
IGNORING_CASE = "(?i)"


@dataclass(frozen=True)
class Finding:
    """How B's behaviour differs from A's.

    Attributes:
        id: Unique within one diff.
        kind: feature, phrase, cluster or llm.
        statement: A sentence, B against A. May quote responses: untrusted.
        behaviour: What the counted responses do, as the end of a sentence; untrusted.
        condition: What the prompt is like where this holds, or None for all prompts; untrusted.
        size: Rates, effect and interval (on the prompts of the condition).
        p: Two-sided p of the hypothesis.
        q: Estimated false-discovery rate of the findings down to this one.
        evidence_a: All prompts (of the condition) with a response of A that shows it.
        evidence_b: The same for B.
        aliases: Other behaviours the same responses show.
        composition: What moved only because of this.
        pattern: Regular expression of what to highlight in a response, "" for nothing.
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
    aliases: tuple[str, ...] = ()
    composition: tuple[str, ...] = ()
    pattern: str = ""


def describe(
    hypotheses: Hypotheses, aligned: Aligned, selected: list[Selected], labels: Labels
) -> list[Finding]:
    """Measure what was selected, say under which condition it holds, and order by |effect|."""
    found = [_describe(hypotheses, aligned, one, labels) for one in selected]
    found.sort(key=lambda f: (-abs(f.size.effect), f.p, f.behaviour))
    return [_numbered(finding, i) for i, finding in enumerate(found, start=1)]


def _numbered(finding: Finding, number: int) -> Finding:
    return replace(finding, id=f"F{number}")


def _describe(hypotheses: Hypotheses, aligned: Aligned, one: Selected, labels: Labels) -> Finding:
    members = hypotheses.behaviour[[one.hypothesis, *one.parts]]
    column = _any_of([hypotheses.columns.columns[j] for j in members])
    shows = np.asarray(hypotheses.columns.shows[:, members].sum(axis=1)).ravel() > 0
    condition = int(hypotheses.condition[one.hypothesis])
    rates = [np.asarray(w @ shows, np.float64).ravel() for w in averaging(aligned)]
    if condition < 0:
        condition = _where(hypotheses, rates[1] - rates[0], labels)
    inside = np.ones(aligned.n, bool) if condition < 0 else hypotheses.conditions.hold[:, condition]
    a, b = _sides(rates, inside, labels, aligned.paired)
    size = measure(a, b, aligned.paired)
    evidence = _evidence(aligned, shows, inside)
    spoken = None if condition < 0 else hypotheses.conditions.statements[condition]
    p = float(hypotheses.design.p_values(labels, np.array([one.hypothesis]))[0])
    return Finding(
        "",
        column.kind,
        _sentence(aligned.names[1], column.statement, spoken, size),
        column.statement,
        spoken,
        size,
        p,
        max(one.q, p),
        *evidence,
        _names(hypotheses, one.aliases, plain=condition < 0),
        _names(hypotheses, one.composition, plain=condition < 0),
        column.pattern,
    )


def _sides(
    rates: list[NDArray[np.float64]], inside: NDArray[np.bool_], labels: Labels, paired: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first = labels[:, 0] > 0
    if paired:
        a, b = np.where(first, rates[0], rates[1]), np.where(first, rates[1], rates[0])
        return a[inside], b[inside]
    either = rates[0] + rates[1]
    return either[inside & ~first], either[inside & first]


def _any_of(columns: list[Column]) -> Column:
    """Make one behaviour of several that are parts of one change."""
    if len(columns) == 1:
        return columns[0]
    left = len(columns) - MOST_NAMED
    more = [f"{left} more such signs" if left > 1 else "one more such sign"] if left > 0 else []
    patterns = [c.pattern for c in columns]
    marked = all(p.startswith(IGNORING_CASE) for p in patterns)
    return replace(
        columns[0],
        statement=", or ".join([c.statement for c in columns[:MOST_NAMED]] + more),
        pattern=IGNORING_CASE + "|".join(p.removeprefix(IGNORING_CASE) for p in patterns)
        if marked
        else columns[0].pattern,
    )


def _evidence(
    aligned: Aligned, shows: NDArray[np.bool_], inside: NDArray[np.bool_]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    a, b = (np.unique(aligned.unit[shows & (aligned.side == side)]) for side in (0, 1))
    return (
        tuple(aligned.ids[u] for u in a if inside[u]),
        tuple(aligned.ids[u] for u in b if inside[u]),
    )


def _where(hypotheses: Hypotheses, difference: NDArray[np.float64], labels: Labels) -> int:
    """Find the condition that holds nearly all of a change; -1 if there is none.

    Of the prompts that moved with the change, more must meet the condition than chance allows
    (hypergeometric, Bonferroni over the conditions). Of the conditions that pass, the one whose
    prompts are most nearly the changed ones.
    """
    from scipy import stats

    hold = hypotheses.conditions.hold
    if not hypotheses.paired or not hold.shape[1]:
        return -1
    d = difference * labels[:, 0]
    n, total = len(d), d.sum()
    size = hold.sum(axis=0)
    inner = d @ hold
    with_it = d * np.sign(total) > 0
    p = stats.hypergeom.sf(with_it @ hold.astype(np.int64) - 1, n, size, with_it.sum())
    share = inner / total if total else np.zeros(len(inner))
    fits = (
        (size <= LARGEST_CONDITION * n)
        & (share >= LEAST_COVERED)
        & (p * hold.shape[1] <= CERTAINTY)
    )
    if not fits.any():
        return -1
    discordant = (np.abs(d) > 0) @ hold
    fit = 2 * np.abs(inner) / (np.abs(total) + discordant)
    return int(np.flatnonzero(fits)[np.argmax(np.round(fit[fits], 9))])


def _names(hypotheses: Hypotheses, which: Sequence[int], *, plain: bool) -> tuple[str, ...]:
    """Name other behaviours; of a finding that holds everywhere, only those that do so, too."""
    kept = [h for h in which if not (plain and hypotheses.condition[h] >= 0)]
    return tuple(_name(hypotheses, h) for h in kept[:MOST_ALIASES])


def _name(hypotheses: Hypotheses, hypothesis: int) -> str:
    name: str = hypotheses.columns.columns[int(hypotheses.behaviour[hypothesis])].statement
    condition = int(hypotheses.condition[hypothesis])
    if condition < 0:
        return name
    return f"{name}, where the prompt {hypotheses.conditions.statements[condition]}"


def _sentence(name: str, behaviour: str, condition: str | None, size: Effect) -> str:
    more = "more" if size.effect > 0 else "less"
    where = f", where the prompt {condition}" if condition else ""
    return f"{name} {behaviour} {more} often{where} ({size.rate_a:.1%} → {size.rate_b:.1%})"
