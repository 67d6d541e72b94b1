"""The null distribution: what relabelled data give, and error rates over all that was tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custodes.diff.inference.randomization import Design, Floats, Labels

__all__ = ["Null", "null_distribution"]

BLOCK = 4_000_000  # scores held at once
STEP, BINS = 0.02, 1000
# Expected numbers are taken this much larger than estimated, since relabellings are finitely many
# and clumps are not quite independent. Measured in docs/measurements/diff.md.
CAUTION = 1.6


@dataclass(frozen=True)
class Null:
    """Scores under relabelling, family by family.

    A family is a set of hypotheses that shares one part of the error budget. Families are of
    very different size (a few dozen long phrases, thousands of words), and within one the
    hypotheses depend on each other; so each is calibrated by its own largest score under
    relabelling (Westfall & Young 1993), and each has a fixed share of the budget.

    Attributes:
        family: Family of each hypothesis, shape (hypotheses,).
        sizes: Hypotheses in each family, shape (families,).
        shares: Share of the error budget of each family, adding up to 1, shape (families,).
        largest: Largest score of each family in each relabelling, shape (families, draws).
        counts: Mean number of hypotheses of a family that score at least ``STEP`` × index,
            shape (families, BINS).
    """

    family: NDArray[np.intp]
    sizes: NDArray[np.int64]
    shares: Floats
    largest: NDArray[np.float32]
    counts: Floats

    def threshold(self, family: int, level: float, extra: int = 0) -> float:
        """Return the smallest score whose expected number of false findings is ``level``.

        Args:
            family: Index of the family.
            level: Expected number of false findings.
            extra: As in `expected`.
        """
        scores = np.arange(0, STEP * BINS, STEP, dtype=np.float32)
        expected = self.expected(scores, np.full(len(scores), family), extra)
        return float(scores[np.argmax(expected <= level)])

    def expected(
        self, scores: NDArray[np.float32], family: NDArray[np.intp], extra: int = 0
    ) -> Floats:
        """Return the number of false findings to expect at these scores, in all families together.

        Within a family, false findings come in clumps (a word, its phrases, its cluster) which
        are reported as one, so what counts is the rate of clumps: −log(1 − P(any)), by the
        Poisson clumping heuristic (Aldous 1989). It is never more than the mean number of
        hypotheses, nor more than the number of hypotheses times p.

        Args:
            scores: Any shape (k,).
            family: Family of each.
            extra: Further hypotheses in each family, which were not drawn.
        """
        draws = self.largest.shape[1]
        out = np.empty(len(scores))
        for f in range(len(self.sizes)):
            mine = family == f
            at_least = draws - np.searchsorted(np.sort(self.largest[f]), scores[mine] - 1e-4)
            p = 10.0 ** -scores[mine].astype(float)
            share = np.minimum((at_least + 1) / (draws + 1) + extra * p, 1 - 1e-9)
            clumps = -np.log1p(-share)
            bin_ = np.minimum((scores[mine] / STEP).astype(int), BINS - 1)
            mean = self.counts[f, bin_]
            mean = np.where(mean > 0, np.maximum(mean, 1 / (draws + 1)) + extra * p, np.inf)
            bound = (self.sizes[f] + extra) * p
            out[mine] = np.minimum(np.minimum(clumps, mean), bound) / self.shares[f]
        return out * CAUTION


def null_distribution(
    design: Design,
    family: NDArray[np.intp],
    weights: Sequence[float],
    labels: Labels,
) -> Null:
    """Score every hypothesis under random relabellings.

    Time is linear in the values that are not 0 times the draws.

    Args:
        design: The test.
        family: Family of each hypothesis, shape (hypotheses,).
        weights: How much of the error budget each family gets, in any unit.
        labels: Relabellings, shape (units, draws).
    """
    draws, families = labels.shape[1], len(weights)
    largest = np.zeros((families, draws), np.float32)
    counts = np.zeros((families, BINS))
    width = max(1, BLOCK // max(draws, 1))
    for f in range(families):
        members = np.flatnonzero(family == f)
        for start in range(0, len(members), width):
            scores = design.scores(labels, members[start : start + width])
            largest[f] = np.maximum(largest[f], scores.max(axis=0, initial=0))
            bins = np.minimum((scores / STEP).astype(np.int32), BINS - 1)
            counts[f] += np.bincount(bins.ravel(), minlength=BINS)
    counts = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1] / max(draws, 1)
    sizes = np.bincount(family, minlength=families)
    shares = np.array(weights, float) / sum(weights)
    return Null(family, sizes, shares, largest, counts)
