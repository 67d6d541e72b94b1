"""From significant hypotheses to findings: one for each change, not one for each word.

The steps of `select` are pure functions of the candidates and of what is left of them:

1. `leader` picks the sharpest candidate that is still surprising.
2. `explain` scores every candidate that agrees with it again, without the leader's prompts. What
   is no longer surprising there is explained by the finding.
3. `leaders` repeats 1 and 2: one leader for each change, before any of them is described.
4. `representative` picks which of the behaviours explained by a change stands for it, measured
   without the prompts of the other leaders.
5. `components` adds behaviours that co-occur with it more often than by chance (lift ≥ 3).
6. `with_q_values` gives every finding its q.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from custodes.diff.inference.candidates import (
    Candidates,
    agreement,
    candidates,
    lift,
    unrelated,
)
from custodes.diff.inference.hypotheses import Hypotheses
from custodes.diff.inference.null import Null
from custodes.diff.inference.randomization import Floats, Labels

__all__ = [
    "Remaining",
    "Selection",
    "components",
    "explain",
    "leader",
    "leaders",
    "representative",
    "select",
    "with_q_values",
]

# The smallest |z| of an agreement over prompts.
AGREEMENT = 2.5
# A component of a change is sharp: the change accounts for this share of its responses.
SHARP = 0.5
# It co-occurs with the finding this many times as often as by chance.
LIFT = 3.0
# Fit of a behaviour whose evidence cannot be highlighted, relative to one where it can.
NOT_HIGHLIGHTED = 0.9
# Behaviours within so many standard errors of the best F1 describe a change about as well.
NEAR = 1.96
# Two leaders may be parts of one wider behaviour, if it shows on this share of the prompts of
# each, and if this share of the prompts that show it are theirs.
COVERED, PRECISE = 0.4, 0.75
# Alternatives that are measured at once.
BLOCK = 256

Rescore = Callable[[NDArray[np.intp], NDArray[np.bool_]], Floats]
"""Gives the expected false findings of some candidates on the prompts that are kept."""


@dataclass(frozen=True)
class Selection:
    """A hypothesis that stands for one change.

    Attributes:
        hypothesis: Index of the hypothesis.
        score: About −log10 of its p.
        expected: False findings to expect at this score, over all that was tested.
        q: Estimated share of false findings among this one and the more surprising ones.
        correlated: Hypotheses that the same change explains, and that moved in the same direction.
        composition: Hypotheses that moved only because this one did.
        components: Hypotheses that co-occur with it more often than by chance, and yet are also
            there without it, such as several words of one way of speaking.
    """

    hypothesis: int
    score: float
    expected: float
    q: float
    correlated: tuple[int, ...] = ()
    composition: tuple[int, ...] = ()
    components: tuple[int, ...] = ()


@dataclass(frozen=True)
class Remaining:
    """What is left of the candidates after some findings.

    Attributes:
        available: Whether a candidate may still become a finding, shape (candidates,).
        expected: False findings to expect on the prompts left to a candidate, shape (candidates,).
        removed: The prompts that each finding removed, shape (findings, prompts).
        without: Whether a candidate lost the prompts of a finding, shape (candidates, findings).
    """

    available: NDArray[np.bool_]
    expected: Floats
    removed: NDArray[np.bool_]
    without: NDArray[np.bool_]

    @classmethod
    def start(cls, pool: Candidates) -> Remaining:
        """Return the state before the first finding: all candidates, all prompts."""
        return cls(
            available=np.ones(len(pool), np.bool_),
            expected=pool.expected.copy(),
            removed=np.zeros((0, pool.prompts), np.bool_),
            without=np.zeros((len(pool), 0), np.bool_),
        )

    def less(self, candidate: int) -> Remaining:
        """Return the same without one candidate."""
        available = self.available.copy()
        available[candidate] = False
        return replace(self, available=available)


def select(hypotheses: Hypotheses, null: Null, labels: Labels, fdr: float) -> list[Selection]:
    """Choose findings one after another; each must be there without the ones before it.

    Every finding must be so surprising that fewer than ``fdr`` false ones are expected, however
    many findings there are. Benjamini & Hochberg would let the j-th be j times as likely; most of
    what that let in was false (docs/measurements/diff.md). Agreement and the prompts left out do
    not depend on the labels, so the scores on the remaining prompts are valid.

    Args:
        hypotheses: All that was tested.
        null: Scores under relabelling.
        labels: The assignment of sides, shape (prompts, 1).
        fdr: False findings to tolerate.

    Returns:
        The most surprising first.
    """
    pool = candidates(hypotheses, null, labels, fdr)

    def rescore(places: NDArray[np.intp], keep: NDArray[np.bool_]) -> Floats:
        which = pool.hypothesis[places]
        scores = hypotheses.design.scores(labels, which, keep=keep)[:, 0]
        return null.expected(scores, hypotheses.family[which])

    changes = leaders(pool, fdr, rescore)
    remaining = Remaining.start(pool)
    selections: list[Selection] = []
    while (first := leader(pool, remaining, fdr)) is not None:
        others = [k for k in changes if k != first]
        selection, remaining = _finding(pool, remaining, first, fdr, rescore, others)
        selections.append(selection)
    return with_q_values(selections)


def leader(pool: Candidates, remaining: Remaining, level: float) -> int | None:
    """Return the sharpest candidate that is surprising enough, None if there is none.

    A candidate under a condition leads only where none without a condition is left: if both are
    there, the part of a change within the condition must not stand for the whole. A generic one
    leads only where no sharp specific one is left, since several changes may have moved it.
    """
    places = np.flatnonzero(remaining.available & (remaining.expected <= level))
    if not len(places):
        return None
    for preferred in (pool.plain, ~pool.generic & (pool.sharpness >= SHARP)):
        some = places[preferred[places]]
        places = some if len(some) else places
    order = np.lexsort((pool.expected[places], -pool.sharpness[places]))
    return int(places[order[0]])


def leaders(pool: Candidates, level: float, rescore: Rescore) -> list[int]:
    """List the leader of each change, in order; each is there without the ones before it."""
    remaining = Remaining.start(pool)
    out: list[int] = []
    while (first := leader(pool, remaining, level)) is not None:
        _, remaining = explain(pool, remaining.less(first), first, level, rescore)
        out.append(first)
    return out


def explain(
    pool: Candidates, remaining: Remaining, finding: int, level: float, rescore: Rescore
) -> tuple[NDArray[np.bool_], Remaining]:
    """Score candidates that agree with a finding again, without the prompts that it moves.

    Args:
        pool: The candidates.
        remaining: What is left of them.
        finding: The candidate that became a finding.
        level: False findings to tolerate.
        rescore: Scores candidates on some of the prompts.

    Returns:
        The candidates that are no longer surprising, shape (candidates,), and what is left.
    """
    rows = pool.moved_by(finding)
    related = (np.abs(agreement(pool, finding)) >= AGREEMENT) & ~unrelated(pool, rows)
    affected = remaining.available & related
    removed = np.concatenate([remaining.removed, rows[None]])
    without = np.concatenate([remaining.without, affected[:, None]], axis=1)
    expected = remaining.expected.copy()
    places = np.flatnonzero(affected)
    # Candidates that lost the same findings' prompts are scored in one go.
    patterns, group = np.unique(without[places], axis=0, return_inverse=True)
    for k, pattern in enumerate(patterns):
        members = places[group.ravel() == k]
        expected[members] = rescore(members, ~removed[pattern].any(axis=0))
    explained = affected & (expected > level)
    return explained, Remaining(remaining.available & ~explained, expected, removed, without)


def representative(
    pool: Candidates,
    first: int,
    alternatives: NDArray[np.bool_],
    others: Sequence[int] = (),
) -> int:
    """Choose the behaviour whose responses are most nearly the changed ones.

    Of ``shown`` prompts, about ``|effect|`` show a behaviour because of the change; the change is
    taken to be as large as its largest effect. This gives precision, recall and their F1. Common
    behaviours also move by chance, so every effect is taken one standard error smaller.

    A behaviour may also move because of several changes at once: each of them makes responses
    longer. So every behaviour is measured without the prompts of the other changes.

    Of the behaviours whose F1 is not significantly smaller than the best, the one whose form needs
    the least explanation is taken: a quotation rather than a category, a count or a measure.

    Args:
        pool: The candidates.
        first: The leader.
        alternatives: The candidates that may stand for the change in its place.
        others: The leaders of other changes.
    """
    places = np.append(first, np.flatnonzero(alternatives))
    # `findings` says later under which condition a plain behaviour holds.
    plain = places[pool.plain[places]]
    places = plain if len(plain) else places
    moved, shown = _without_others(pool, places, first, others)
    fit = 2 * np.maximum(moved - pool.noise[places], 0) / np.maximum(shown + moved.max(), 1e-9)
    # If all responses of one side show it and none of the other, nothing need be highlighted.
    everywhere = np.abs(pool.effect[places]) >= pool.prompts
    fit[~pool.highlighted[places] & ~everywhere] *= NOT_HIGHLIGHTED
    # Of those that fit about as well as the best, the plainest is taken.
    error = np.sqrt(fit * np.maximum(1 - fit, 0) / np.maximum(moved.max(), 1))
    near = fit >= fit.max() - NEAR * error
    order = np.lexsort((pool.expected[places], -np.round(fit, 6), pool.rank[places], ~near))
    return int(places[order[0]])


def _without_others(
    pool: Candidates, places: NDArray[np.intp], first: int, others: Sequence[int]
) -> tuple[Floats, Floats]:
    """Measure behaviours without the prompts of other changes.

    The other leader's prompts stay where it may be a part of a wider, specific behaviour: where
    this shows on many of them and on few prompts besides.

    Returns:
        ``|effect|`` and ``shown`` of `Candidates` on the remaining prompts, shape (places,).
    """
    moved, shown = np.abs(pool.effect[places]), pool.shown[places].copy()
    if not others:
        return moved, shown
    own = pool.moved_by(first)
    rows = np.stack([pool.moved_by(k) for k in others]).astype(np.float32)
    with_effect = sparse.csr_matrix(pool.with_effect[:, places].T)
    for start in range(0, len(places), BLOCK):
        block = slice(start, start + BLOCK)
        change = with_effect[block]
        shows = change > 0
        covered = (shows @ rows.T) / rows.sum(axis=1) >= COVERED
        union = (covered @ rows > 0) | own
        precise = np.asarray(shows.multiply(union).sum(axis=1)).ravel() >= PRECISE * shown[block]
        parts = covered & precise[:, None] & ~pool.generic[places[block], None]
        left_out = (~parts @ rows > 0) & ~own
        moved[block] -= np.asarray(change.multiply(left_out).sum(axis=1)).ravel()
        shown[block] -= np.asarray(shows.multiply(left_out).sum(axis=1)).ravel()
    return np.maximum(moved, 0), np.maximum(shown, 0)


def components(
    pool: Candidates,
    remaining: Remaining,
    finding: int,
    level: float,
    rescore: Rescore,
    others: Sequence[int] = (),
) -> tuple[list[int], Remaining]:
    """Take the candidates that are there without a finding and yet co-occur with it.

    Where much has changed, everything agrees with everything on some prompts. So a component must
    co-occur with the finding more often than by chance, in the same direction, and be sharp and
    specific. It must also be there without the leaders of other changes: those that do not
    co-occur with the finding.

    Args:
        pool: The candidates.
        remaining: What is left of them.
        finding: The candidate that became a finding.
        level: False findings to tolerate.
        rescore: Scores candidates on some of the prompts.
        others: The leaders of other changes.

    Returns:
        The candidates, in the order taken, and what is left.
    """
    if not pool.plain[finding]:
        return [], remaining
    co_occurring = lift(pool, finding) >= LIFT
    beside = (
        pool.plain
        & ~pool.generic
        & (agreement(pool, finding) >= AGREEMENT)
        & (pool.sharpness >= SHARP)
        & (np.sign(pool.effect) == np.sign(pool.effect[finding]))
        & co_occurring
    )
    elsewhere = [k for k in others if not co_occurring[k]]
    if elsewhere and beside.any():
        rows = np.any([pool.moved_by(k) for k in [finding, *elsewhere]], axis=0)
        places = np.flatnonzero(beside)
        beside[places] = rescore(places, ~rows) <= level
    taken: list[int] = []
    while True:
        places = np.flatnonzero(beside & remaining.available & (remaining.expected <= level))
        if not len(places):
            return taken, remaining
        component = int(places[np.argmin(remaining.expected[places])])
        _, remaining = explain(pool, remaining.less(component), component, level, rescore)
        taken.append(component)


def _finding(
    pool: Candidates,
    remaining: Remaining,
    first: int,
    level: float,
    rescore: Rescore,
    others: Sequence[int],
) -> tuple[Selection, Remaining]:
    """Make a finding of a leader, and remove what it explains."""
    explained, remaining = explain(pool, remaining.less(first), first, level, rescore)
    together = agreement(pool, first)
    alternatives = explained & (together > 0) & (pool.expected <= level)
    best = representative(pool, first, alternatives, others)
    if best != first:
        _, remaining = explain(pool, remaining, best, level, rescore)
    same_direction = np.sign(pool.effect) == np.sign(pool.effect[best])
    correlated = alternatives & same_direction
    correlated[first] = same_direction[first]
    correlated[best] = False
    composition = explained & ((together < 0) | (alternatives & ~same_direction))
    parts, remaining = components(pool, remaining, best, level, rescore, others)
    return (
        Selection(
            hypothesis=int(pool.hypothesis[best]),
            score=float(pool.score[best]),
            expected=float(pool.expected[best]),
            q=float(pool.expected[best]),
            correlated=_by_surprise(pool, correlated),
            composition=_by_surprise(pool, composition),
            components=tuple(int(pool.hypothesis[i]) for i in parts),
        ),
        remaining,
    )


def _by_surprise(pool: Candidates, marked: NDArray[np.bool_]) -> tuple[int, ...]:
    """Return the marked hypotheses, the most surprising first."""
    order = np.argsort(pool.expected, kind="stable")
    return tuple(int(pool.hypothesis[i]) for i in order if marked[i])


def with_q_values(selections: Sequence[Selection]) -> list[Selection]:
    """Order findings by surprise, and give each the smallest rate at which it is selected."""
    ordered = sorted(selections, key=lambda s: (s.expected, -s.score))
    q = 1.0
    out: list[Selection] = []
    for rank in range(len(ordered), 0, -1):
        q = min(q, ordered[rank - 1].expected / rank)
        out.append(replace(ordered[rank - 1], q=q))
    return out[::-1]
