"""Intervals for means over prompts: the prompt is the unit, not the response."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["Interval", "bootstrap_mean"]


@dataclass(frozen=True)
class Interval:
    """A mean with its interval.

    Attributes:
        mean: The estimate.
        low: Lower end of the 95% interval.
        high: Upper end.
        n: Prompts it rests on.
    """

    mean: float
    low: float
    high: float
    n: int

    def excludes(self, value: float) -> bool:
        """Whether the interval lies on one side of a value."""
        return self.n > 1 and not self.low <= value <= self.high


def bootstrap_mean(
    values: ArrayLike, seed: int = 0, resamples: int = 4000, level: float = 0.95
) -> Interval:
    """Bootstrap the mean of one value a prompt (Efron's percentile interval).

    Args:
        values: Shape (n,). NaN is refused: decide what a missing value means before.
        seed: Of the resampling.
        resamples: Bootstrap samples.
        level: Coverage aimed at, in (0, 1).

    Returns:
        The interval; with fewer than two values it is as wide as can be said: (-inf, inf).

    Raises:
        ValueError: A value is not finite, or there are none.
    """
    x_N = np.asarray(values, dtype=np.float64)
    if len(x_N) == 0 or not np.isfinite(x_N).all():
        raise ValueError("an interval needs at least one value, all of them finite")
    mean = float(x_N.mean())
    if len(x_N) < 2:
        return Interval(mean, -np.inf, np.inf, len(x_N))
    rng = np.random.default_rng(seed)
    # Multinomial counts are the resample's weights: (resamples, n) integers, one matrix product.
    counts = rng.multinomial(len(x_N), np.full(len(x_N), 1 / len(x_N)), size=resamples)
    means = counts @ x_N / len(x_N)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(mean, float(low), float(high), len(x_N))
