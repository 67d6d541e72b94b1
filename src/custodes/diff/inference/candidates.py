"""Candidates for findings: the hypotheses that are surprising enough, and how each one behaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from custodes.diff.inference.hypotheses import Hypotheses
from custodes.diff.inference.null import Null
from custodes.diff.inference.randomization import Floats, Labels

__all__ = ["Candidates", "agreement", "candidates", "lift", "sharpness", "unrelated"]

# Only so many hypotheses, and none less surprising than p = .001, are considered.
MOST_CANDIDATES = 1500
LOOSE_SCORE = 3.0
# Two behaviours that co-occur by less than this share of what is possible are unrelated, if full
# co-occurrence would be this many standard errors above chance, and one of them moves this share
# of the prompts.
UNRELATED_SHARE, UNRELATED_Z, MOST_PROMPTS = 1 / 3, 4.0, 0.5


@dataclass(frozen=True)
class Candidates:
    """The hypotheses that may become findings; all arrays have one entry for each, in one order.

    Attributes:
        hypothesis: Index into the hypotheses, shape (candidates,).
        score: About −log10 of p on all prompts.
        expected: False findings to expect at that score, over all that was tested.
        plain: Whether it holds for all prompts, not under a condition.
        highlighted: Whether its evidence can be highlighted in a response.
        rank: Preference of its form; 0 needs the least explanation.
        generic: Whether very different changes may move it.
        differences: B minus A by prompt, of the prompts it is about, CSC, shape (prompts,
            candidates). No zeros are stored.
        effect: Net number of prompts that moved; the sign is the direction.
        shown: Prompts that show it on the side with more of them.
        noise: Standard error of the effect, from the prompts that moved both ways equally.
        direction: 1 where the labels leave a prompt's sides as they are, −1 where they swap them,
            shape (prompts,).
        paired: Whether each prompt has responses of both sides.
    """

    hypothesis: NDArray[np.intp]
    score: NDArray[np.float32]
    expected: Floats
    plain: NDArray[np.bool_]
    highlighted: NDArray[np.bool_]
    rank: NDArray[np.intp]
    generic: NDArray[np.bool_]
    differences: sparse.csc_matrix
    effect: Floats
    shown: Floats
    noise: Floats
    direction: Floats
    paired: bool

    def __len__(self) -> int:
        return len(self.hypothesis)

    @property
    def prompts(self) -> int:
        """Number of prompts."""
        return int(self.differences.shape[0])

    @property
    def sharpness(self) -> Floats:
        """See `sharpness`."""
        return sharpness(self.effect, self.shown)

    @property
    def moved(self) -> sparse.csc_matrix:
        """1 where a prompt moved, shape (prompts, candidates)."""
        moved = sparse.csc_matrix(self.differences, copy=True)
        moved.data = np.ones_like(moved.data)
        return moved

    @property
    def with_effect(self) -> sparse.csc_matrix:
        """How far a prompt moved in the direction of the effect, shape (prompts, candidates)."""
        signs = sparse.diags(np.sign(self.effect))
        return sparse.csc_matrix(sparse.diags(self.direction) @ self.differences @ signs)

    def moved_by(self, candidate: int) -> NDArray[np.bool_]:
        """Return the prompts that a candidate moves, shape (prompts,)."""
        moved = np.zeros(self.prompts, np.bool_)
        low, high = self.differences.indptr[candidate : candidate + 2]
        moved[self.differences.indices[low:high]] = True
        return moved


def candidates(hypotheses: Hypotheses, null: Null, labels: Labels, level: float) -> Candidates:
    """List the candidates, the most surprising first; none if nothing is a finding at ``level``.

    Args:
        hypotheses: All that was tested.
        null: Scores under relabelling.
        labels: The assignment of sides, shape (prompts, 1).
        level: False findings to tolerate.
    """
    scores = hypotheses.design.scores(labels, np.arange(hypotheses.design.size))[:, 0]
    expected = null.expected(scores, hypotheses.family)
    pool = np.flatnonzero((scores >= LOOSE_SCORE) | (expected <= level))
    pool = pool[np.argsort(expected[pool], kind="stable")][:MOST_CANDIDATES]
    if not len(pool) or expected[pool[0]] > level:
        pool = pool[:0]
    behaviour = hypotheses.behaviour[pool]
    effect, shown, noise = _sizes(hypotheses, pool, labels)
    items = hypotheses.indicators.items
    return Candidates(
        hypothesis=pool,
        score=scores[pool],
        expected=expected[pool],
        plain=hypotheses.condition[pool] < 0,
        highlighted=np.array(
            [bool(items[j].pattern) and not items[j].absent for j in behaviour], bool
        ),
        rank=np.array([items[j].rank for j in behaviour], np.intp),
        generic=np.array([items[j].generic for j in behaviour], bool),
        differences=_within(
            hypotheses,
            pool,
            (hypotheses.rates_b[:, behaviour] - hypotheses.rates_a[:, behaviour]).tocsc(),
        ),
        effect=effect,
        shown=shown,
        noise=noise,
        direction=np.where(labels[:, 0] == hypotheses.design.observed[:, 0], 1.0, -1.0),
        paired=hypotheses.paired,
    )


def _within(
    hypotheses: Hypotheses, pool: NDArray[np.intp], values: sparse.csc_matrix
) -> sparse.csc_matrix:
    """Set the values of prompts that a candidate is not about to 0."""
    values = values.copy()
    for k, h in enumerate(pool):
        if hypotheses.condition[h] >= 0:
            low, high = values.indptr[k : k + 2]
            values.data[low:high] *= hypotheses.members(int(h))[values.indices[low:high]]
    values.eliminate_zeros()
    return values


def _sizes(
    hypotheses: Hypotheses, pool: NDArray[np.intp], labels: Labels
) -> tuple[Floats, Floats, Floats]:
    """Return effect, shown and noise of `Candidates`."""
    behaviour = hypotheses.behaviour[pool]
    a = _within(hypotheses, pool, hypotheses.rates_a[:, behaviour].tocsc())
    b = _within(hypotheses, pool, hypotheses.rates_b[:, behaviour].tocsc())
    one = labels[:, 0] > 0
    if hypotheses.paired:
        sum_a, sum_b = one @ a + ~one @ b, one @ b + ~one @ a
        either = np.asarray(abs(b - a).sum(axis=0)).ravel()
    else:
        size = np.array([hypotheses.members(int(h))[one].sum() for h in pool])
        rest = np.array([hypotheses.members(int(h))[~one].sum() for h in pool])
        sum_b = one @ (a + b)
        sum_a = (~one @ (a + b)) * size / np.maximum(rest, 1)
        either = sum_a + sum_b
    effects = np.asarray(sum_b - sum_a, np.float64).ravel()
    return (
        effects,
        np.asarray(np.maximum(sum_a, sum_b), np.float64).ravel(),
        np.sqrt(np.maximum(np.asarray(either, np.float64) - np.abs(effects), 0)),
    )


def sharpness(effect: Floats, shown: Floats) -> Floats:
    """Bound from below the share of the showing prompts that the change accounts for.

    The lower end of Wilson's 95% interval, so that few prompts do not look sharp by chance.

    Args:
        effect: Net number of prompts that moved.
        shown: Prompts that show the behaviour on the side with more of them.
    """
    n = np.maximum(shown, 1.0)
    share = np.clip(np.abs(effect) / n, 0, 1)
    z = 1.96
    centre = share + z**2 / (2 * n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    lower: Floats = (centre - half) / (1 + z**2 / n)
    return lower


def agreement(pool: Candidates, candidate: int) -> Floats:
    """Return the z of every candidate's agreement with one, over prompts.

    The size does not depend on the labels. The sign is positive if the two moved as their
    agreement has it, and negative if they moved against it.
    """
    one = pool.differences[:, [candidate]]
    inner = np.asarray((pool.differences.T @ one).todense()).ravel()
    if not pool.paired:
        # A relabelling keeps no pairs together: only co-occurrence beyond chance counts.
        total = np.asarray(abs(pool.differences).sum(axis=0)).ravel()
        inner = inner - total * total[candidate] / pool.prompts
    squares = pool.differences.multiply(pool.differences)
    norm = np.asarray((squares.T @ one.multiply(one)).todense())
    z: Floats = inner / np.sqrt(np.maximum(norm.ravel(), 1e-12))
    signed: Floats = z * np.sign(pool.effect) * np.sign(pool.effect[candidate])
    return signed


def lift(pool: Candidates, candidate: int) -> Floats:
    """Return how often every candidate moves on the prompts that one moves; chance is 1."""
    rows, moved = pool.moved_by(candidate), pool.moved
    both = np.asarray(rows @ moved, np.float64).ravel()
    total = np.asarray(moved.sum(axis=0), np.float64).ravel()
    ratio: Floats = both * pool.prompts / np.maximum(total * rows.sum(), 1)
    return ratio


def unrelated(pool: Candidates, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark candidates that move on a finding's prompts about as often as by chance.

    Where a finding moves most prompts, everything that moves in the same direction agrees with
    it. A correlated behaviour also co-occurs with it more often than by chance. This compares the
    number of shared prompts with the largest possible number, both in standard errors above
    chance (hypergeometric). Where co-occurrence could not be seen, nothing counts as unrelated.

    Args:
        pool: The candidates.
        rows: The prompts that the finding moves, shape (prompts,).
    """
    n, size = len(rows), rows.sum()
    if size < MOST_PROMPTS * n:
        # Enough prompts are left without the finding to tell.
        return np.zeros(len(pool), np.bool_)
    moved = pool.moved
    both = np.asarray(rows @ moved, np.float64).ravel()
    total = np.asarray(moved.sum(axis=0), np.float64).ravel()
    chance = total * size / n
    error = np.sqrt(np.maximum(chance * (n - size) * (n - total) / (n * max(n - 1, 1)), 1e-12))
    largest = (np.minimum(total, size) - chance) / error
    marked: NDArray[np.bool_] = (largest >= UNRELATED_Z) & (
        both - chance < UNRELATED_SHARE * largest * error
    )
    return marked
