"""Randomisation tests: sign flips within prompts, or relabelled prompts.

Both designs hold one value for each unit (prompt) and hypothesis and answer the same two
questions about any assignment of labels: how surprising is each hypothesis, and how large is
its effect. The observed labels are one assignment among the others.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = [
    "Design",
    "Relabelings",
    "SignFlips",
    "binomial_scores",
    "normal_scores",
    "rademacher_tail",
]

Labels = NDArray[np.float32]
Floats = NDArray[np.float64]

# Up to this many discordant prompts the binomial tail is read from a table of exact values.
TABLE = 600
LARGEST_SCORE = 300.0


class Design(Protocol):
    """A randomisation test of many hypotheses at once.

    Attributes:
        n: Units.
        size: Hypotheses.
        observed: The labels as they are, shape (n, 1).
    """

    n: int
    size: int
    observed: Labels

    def draw(self, count: int, rng: np.random.Generator) -> Labels:
        """Draw assignments that were as likely as the observed one, shape (n, count)."""
        ...

    def scores(
        self, labels: Labels, which: NDArray[np.intp], keep: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Score hypotheses: about −log10 of the two-sided p of each, given each assignment.

        Args:
            labels: Assignments, shape (n, count).
            which: Hypotheses to score.
            keep: Units to use, all of them by default.

        Returns:
            Shape (len(which), count).
        """
        ...

    def p_values(self, labels: Labels, which: NDArray[np.intp]) -> Floats:
        """Return two-sided p-values under one assignment (n, 1), exact where that is feasible."""
        ...

    def attainable(self) -> NDArray[np.float32]:
        """Return the score of each hypothesis under its most extreme assignment, or more."""
        ...


class SignFlips:
    """Paired prompts: without a difference, A and B could be swapped within any prompt.

    Args:
        differences: B's mean minus A's for each prompt, CSC, shape (prompts, hypotheses).
    """

    def __init__(self, differences: sparse.csc_matrix) -> None:
        differences.eliminate_zeros()
        self.differences = differences
        self.n, self.size = differences.shape
        self.observed: Labels = np.ones((self.n, 1), np.float32)
        self.discordant = np.diff(differences.indptr)
        squares = np.concatenate([[0.0], np.cumsum(differences.data.astype(float) ** 2)])
        self._norm = np.sqrt(squares[differences.indptr[1:]] - squares[differences.indptr[:-1]])
        # With one response a side every difference is ±1, and the sum is binomial.
        self.binary = bool(np.all(np.abs(differences.data) == 1))

    def draw(self, count: int, rng: np.random.Generator) -> Labels:
        """Flip each prompt by a fair coin."""
        return (2 * rng.integers(0, 2, (self.n, count), dtype=np.int8) - 1).astype(np.float32)

    def scores(
        self, labels: Labels, which: NDArray[np.intp], keep: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Score hypotheses by the binomial tail, or by the normal one (several responses)."""
        part = sparse.csr_matrix(self.differences[:, which].T)
        if keep is not None:
            part = sparse.csr_matrix(part @ sparse.diags(keep.astype(np.float32)))
            part.eliminate_zeros()
        sums = np.abs(np.asarray(part @ labels))
        if self.binary:
            return binomial_scores(sums, np.diff(part.indptr))
        norm = np.sqrt(np.asarray(part.multiply(part).sum(axis=1)).ravel())
        return normal_scores(sums / np.maximum(norm, 1e-12)[:, None])

    def p_values(self, labels: Labels, which: NDArray[np.intp]) -> Floats:
        """Return the exact binomial p, or the saddle-point one where values are fractions."""
        from scipy import stats

        part = self.differences[:, which]
        sums = np.abs(np.asarray(part.T @ labels)).ravel()
        if self.binary:
            d = np.diff(part.indptr)
            return np.minimum(1.0, 2 * stats.binom.sf((d + sums) / 2 - 1, d, 0.5))
        return np.array(
            [
                rademacher_tail(np.abs(part.data[lo:hi]).astype(float), float(total))
                for lo, hi, total in zip(part.indptr[:-1], part.indptr[1:], sums, strict=True)
            ]
        )

    def attainable(self) -> NDArray[np.float32]:
        """Score each hypothesis as if all prompts had moved one way."""
        sums = np.asarray(abs(self.differences).sum(axis=0), np.float32).reshape(-1, 1)
        if self.binary:
            return binomial_scores(sums, self.discordant)[:, 0]
        return normal_scores(sums[:, 0] / np.maximum(self._norm, 1e-12))


class Relabelings:
    """Different prompts: without a difference, any prompt could have been the other model's.

    Args:
        values: Mean of each prompt's responses, CSC, shape (prompts, hypotheses).
        members: Units that count for each hypothesis, as an index into ``masks``.
        masks: Sets of units (conditions), boolean, shape (prompts, sets).
        labels: 1 where B answered, else 0, shape (prompts,).
    """

    def __init__(
        self,
        values: sparse.csc_matrix,
        members: NDArray[np.intp],
        masks: NDArray[np.bool_],
        labels: NDArray[np.int8],
    ) -> None:
        self.values, self.members = values, members
        self.masks: Labels = masks.astype(np.float32)
        self.n, self.size = values.shape
        self.observed: Labels = labels.astype(np.float32)[:, None]

    def draw(self, count: int, rng: np.random.Generator) -> Labels:
        """Permute the labels over the prompts."""
        return rng.permuted(np.repeat(self.observed, count, axis=1), axis=0)

    def scores(
        self, labels: Labels, which: NDArray[np.intp], keep: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Score hypotheses by the permutation z of the difference of means."""
        part, masks = self.values[:, which].T.tocsr(), self.masks
        if keep is not None:
            part = (part @ sparse.diags(keep.astype(np.float32))).tocsr()
            masks = masks * keep[:, None]
        size = masks.sum(axis=0)[self.members[which]]
        total = np.asarray(part.sum(axis=1)).ravel()
        squares = np.asarray(part.multiply(part).sum(axis=1)).ravel()
        mean = total / np.maximum(size, 1)
        spread = np.maximum(squares - size * mean**2, 0)
        # The sum over B of values centred within the condition, and its permutation variance.
        drawn = (masks.T @ labels)[self.members[which]]
        sums = np.asarray(part @ labels) - mean[:, None] * drawn
        in_b = float(self.observed.sum())
        variance = spread * in_b * (self.n - in_b) / (self.n * max(self.n - 1, 1))
        return normal_scores(np.abs(sums) / np.sqrt(np.maximum(variance, 1e-12))[:, None])

    def p_values(self, labels: Labels, which: NDArray[np.intp]) -> Floats:
        """Return Fisher's exact p where every value is 0 or 1, else the normal one."""
        from scipy import stats

        out = 10.0 ** -self.scores(labels, which)[:, 0].astype(float)
        in_b = labels[:, 0] > 0.5
        for k, j in enumerate(which):
            lo, hi = self.values.indptr[j : j + 2]
            rows, data = self.values.indices[lo:hi], self.values.data[lo:hi]
            if not np.all((data == 0) | (data == 1)):
                continue
            member = self.masks[:, self.members[j]] > 0
            hits = np.zeros(self.n, bool)
            hits[rows[data == 1]] = True
            table = np.array(
                [
                    [np.sum(member & side & hits), np.sum(member & side & ~hits)]
                    for side in (in_b, ~in_b)
                ]
            )
            out[k] = stats.fisher_exact(table).pvalue
        return out

    def attainable(self) -> NDArray[np.float32]:
        """Set no limit: the most extreme assignment is not searched for."""
        return np.full(self.size, LARGEST_SCORE, np.float32)


def binomial_scores(sums: NDArray[np.float32], counts: NDArray[np.int32]) -> NDArray[np.float32]:
    """Score sums of ``counts[i]`` fair signs: −log10 of the two-sided tail.

    Exact up to ``TABLE`` signs, normal with a continuity correction beyond, where the two
    differ by less than 2% of p down to p = 1e-6.

    Args:
        sums: Absolute sums, shape (hypotheses, assignments).
        counts: Signs in each sum, shape (hypotheses,).
    """
    out = np.empty(sums.shape, np.float32)
    small = counts <= TABLE
    if small.any():
        index = np.rint((counts[small, None] + sums[small]) / 2).astype(np.int64)
        out[small] = _binomial_table()[counts[small, None], index]
    big = ~small
    if big.any():
        z = (sums[big] - 1) / np.sqrt(counts[big, None])
        out[big] = normal_scores(np.maximum(z, 0))
    return out


@lru_cache(maxsize=1)
def _binomial_table() -> NDArray[np.float32]:
    from scipy import stats

    d = np.arange(TABLE + 1)[:, None]
    k = np.arange(TABLE + 1)[None, :]
    k = np.maximum(k, d - k)
    with np.errstate(divide="ignore"):
        tail = np.log10(2.0) + stats.binom.logsf(k - 1, d, 0.5) / np.log(10.0)
    table: NDArray[np.float32] = np.clip(-tail, 0, LARGEST_SCORE).astype(np.float32)
    return table


def normal_scores(z: NDArray[np.floating]) -> NDArray[np.float32]:
    """Score z-values: −log10 of the two-sided normal tail."""
    from scipy.special import log_ndtr

    scores = -(np.log10(2.0) + log_ndtr(-z) / np.log(10.0))
    clipped: NDArray[np.float32] = np.clip(scores, 0, LARGEST_SCORE).astype(np.float32)
    return clipped


def rademacher_tail(weights: Floats, total: float) -> float:
    """Return P(|Σ ±w| ≥ total) for fair signs, by the saddle-point of Lugannani and Rice (1980).

    Args:
        weights: The |differences| that are not 0, shape (n,).
        total: The observed absolute sum, in [0, Σ w].
    """
    from scipy.special import ndtr

    top = float(weights.sum())
    if total <= 1e-9 or top <= 0:
        return 1.0
    if total >= top - 1e-9:
        return float(min(1.0, 2.0 ** (1 - len(weights))))
    # 1. Solve K'(s) = Σ w tanh(s w) = total; K' increases, so bisect on a bracket.
    low, high = 0.0, 1.0
    while float((weights * np.tanh(high * weights)).sum()) < total:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        below = float((weights * np.tanh(middle * weights)).sum()) < total
        low, high = (middle, high) if below else (low, middle)
    s = (low + high) / 2
    # 2. Their formula (10), with K(s) = Σ log cosh(s w).
    cumulant = float((np.logaddexp(s * weights, -s * weights) - np.log(2)).sum())
    curvature = float((weights**2 / np.cosh(np.minimum(s * weights, 300)) ** 2).sum())
    w = np.sqrt(max(2 * (s * total - cumulant), 1e-300))
    u = s * np.sqrt(curvature)
    if w < 1e-4 or u <= 0:
        return float(2 * ndtr(-total / np.sqrt((weights**2).sum())))
    upper = ndtr(-w) + np.exp(-(w**2) / 2) / np.sqrt(2 * np.pi) * (1 / u - 1 / w)
    return float(min(1.0, max(2 * upper, 2.0 ** (1 - len(weights)))))
