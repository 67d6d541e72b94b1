"""What drifts, in words: each count once with its curve, correlated behaviours folded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custodes.diff.inference.effects import Effect
from custodes.diff.inference.findings import Threshold
from custodes.diff.inference.wording import clause, percent, plain_behaviour, shown_words
from custodes.drift.lineage import Drift
from custodes.drift.monitor import Behaviour

__all__ = ["DriftFinding", "drift_findings", "drift_outcome"]

# Behaviours whose differences over the prompts have at least this cosine are one finding; with the
# second, they are so nearly the same that the plainest may stand for them.
CORRELATED, SAME = 0.6, 0.9


@dataclass(frozen=True)
class DriftFinding:
    """One thing that drifts.

    Attributes:
        behaviour: The behaviour that stands for it.
        statement: A sentence about the last generation; untrusted, it may quote responses.
        words: The commonest words that show it; untrusted.
        curve: Of a count: rates of the first generation and of the last at each threshold that
            drifts.
        correlated: Other behaviours that drift on the same prompts, and which way.
        stands_for: All behaviours that drift and are told by this finding, itself included.
    """

    behaviour: Behaviour
    statement: str
    words: tuple[str, ...]
    curve: tuple[Threshold, ...]
    correlated: tuple[str, ...]
    stands_for: tuple[str, ...]


def drift_findings(drift: Drift) -> tuple[DriftFinding, ...]:
    """Group the behaviours that drift; those with most evidence come first.

    What is detected does not change by this: every behaviour that drifts belongs to one finding.
    """
    counts: dict[tuple[str, bool], list[Behaviour]] = {}
    for b in drift.drifted:
        counts.setdefault((b.indicator.name or b.statement, _furthest(b).effect > 0), []).append(b)
    heads = [min(group, key=lambda b: b.indicator.rank) for group in counts.values()]
    groups = dict(zip([h.statement for h in heads], counts.values(), strict=True))
    left = sorted(heads, key=lambda b: -b.log_e[-1])
    findings = []
    while left:
        first, *left = left
        cosine = _cosines(drift, first, left)
        together = [b for b, c in zip(left, cosine, strict=True) if c >= CORRELATED]
        same = [first, *(b for b, c in zip(left, cosine, strict=True) if c >= SAME)]
        head = min(same, key=lambda b: b.indicator.rank)
        others = [b for b in (first, *together) if b is not head]
        findings.append(_finding(drift, head, others, groups))
        left = [b for b in left if b not in together]
    return tuple(findings)


def _furthest(b: Behaviour) -> Effect:
    return max(b.sizes, key=lambda size: abs(size.effect))


def _cosines(drift: Drift, first: Behaviour, others: Sequence[Behaviour]) -> NDArray[np.float64]:
    """Return the cosine of |difference by prompt| of behaviours, where the first is furthest."""
    if not drift.shown or not others:
        return np.zeros(len(others))
    t = int(np.argmax([abs(size.effect) for size in first.sizes]))
    one = drift.differences(first.statement, t)
    out = np.zeros(len(others))
    for k, other in enumerate(others):
        two = drift.differences(other.statement, t)
        norm = float(np.linalg.norm(one) * np.linalg.norm(two))
        out[k] = abs(float(one @ two)) / norm if norm else 0.0
    return out


def _finding(
    drift: Drift, head: Behaviour, others: Sequence[Behaviour], groups: dict[str, list[Behaviour]]
) -> DriftFinding:
    members = [b for one in (head, *others) for b in groups[one.statement]]
    words = _words(drift, head)
    thresholds = sorted(groups[head.statement], key=lambda b: b.indicator.least)
    curve = {
        b.indicator.least: Threshold(b.indicator.least, b.sizes[-1].rate_a, b.sizes[-1].rate_b)
        for b in thresholds
        if "in its" not in b.statement
    }
    return DriftFinding(
        behaviour=head,
        statement=_statement(head, words),
        words=words,
        curve=tuple(curve.values()) if len(curve) > 1 else (),
        correlated=tuple(clause(b.indicator, _furthest(b).effect) for b in others),
        stands_for=tuple(b.statement for b in members),
    )


def _statement(b: Behaviour, words: Sequence[str]) -> str:
    last = b.sizes[-1]
    name = plain_behaviour(b.indicator, words) if b.indicator.statement else b.statement
    more = "more" if _furthest(b).effect > 0 else "less"
    rates = f"{percent(last.rate_b)} of answers in the last generation, {percent(last.rate_a)}"
    if b.returned:
        return f"{name} {more} often for a while, and returned: {rates} in the first"
    return f"{name} {more} often: {rates} in the first"


def _words(drift: Drift, b: Behaviour) -> tuple[str, ...]:
    """Return the commonest words that show a behaviour where it is furthest from the first."""
    if not drift.rounds or not b.indicator.statement:
        return ()
    t = int(np.argmax([abs(size.effect) for size in b.sizes]))
    first, now = (
        [text for texts in responses.texts for text in texts] for responses in drift.rounds[t]
    )
    if b.sizes[t].effect > 0:
        first, now = now, first
    return shown_words(b.indicator, first, now)


def drift_outcome(drift: Drift, findings: Sequence[DriftFinding]) -> str:
    """Say what drifts, how far, how sure and at what price; untrusted.

    Args:
        drift: The result.
        findings: What `drift_findings` returned.
    """
    rounds = len(drift.names) - 1
    answers = 2 * rounds * drift.prompts * drift.samples
    price = (
        f"Compared: {_count(rounds, 'generation')} with the first ({drift.names[0]}), "
        f"{_count(drift.prompts, 'prompt')}, {_count(answers, 'answer')}, "
        f"{_count(len(drift.behaviours), 'behaviour')}."
    )
    if not findings:
        smallest = drift.detectable[0] if drift.detectable else None
        would = ""
        if smallest is not None and smallest.rise is not None:
            would = (
                f" A behaviour that the first generation shows in {percent(smallest.rate)} of its "
                f"answers would have been detected with 80% power if it had risen to "
                f"{percent(smallest.rate + smallest.rise)} and stayed there."
            )
        elif smallest is not None:
            would = " With so few prompts and generations no drift can be detected."
        return f"No drift was detected.{would} {price}"
    first = findings[0].behaviour
    low, high = first.always[-1]
    points = f"{100 * first.sizes[-1].effect:+.0f} points, interval {100 * low:+.0f} to "
    points = f"{points}{100 * high:+.0f}".replace("-", "−")
    many = "One thing drifted" if len(findings) == 1 else f"{len(findings)} things drifted"
    what = "" if len(findings) == 1 else "The one with most evidence: "
    returned = sum(f.behaviour.returned for f in findings)
    back = f" {returned} of them returned." if returned and len(findings) > 1 else ""
    sure = (
        f"Of lineages that stand still, at most {drift.fdr:.0%} show any drift at a given "
        "generation."
    )
    return (
        f"{many} over {_count(rounds, 'generation')}. {what}{findings[0].statement} ({points}), "
        f"detected at generation {first.detected_at}.{back} {sure} {price}"
    )


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
