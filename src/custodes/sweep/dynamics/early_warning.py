"""Early-warning signs: whether variance and autocorrelation rise before a transition.

1. The series is detrended with a Gaussian kernel.
2. In a rolling window: the variance, and the autocorrelation at lag 1.
3. Kendall's tau of each with time says whether it rises (Dakos et al., PLoS ONE 7(7), 2012).
4. Windows overlap, so tau is large by chance much of the time: on stationary noise it is above 0.5
   in a fifth of the series (docs/measurements/sweep.md). Its p-value comes from null surrogates:
   stationary AR(1) series of the same length, which go through 1 to 3.
5. Which AR(1) series is not known, and an estimate of the coefficient from a short, detrended
   series is poor: with it, the false-alarm rate at the 5% level was up to 13%. Surrogates are drawn
   with all coefficients, therefore, and those are kept whose own detrended series has the
   autocorrelation that was observed. Given that, tau hardly depends on the coefficient.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["EarlyWarning", "early_warning", "kendall"]

Array: TypeAlias = NDArray[np.float64]

SHORTEST = 30
OVERSAMPLED = 8
"""So many surrogates are drawn for each that is kept."""
COEFFICIENTS = (-0.5, 0.99)
"""Of the surrogates: evenly spaced between these."""
CHUNK = 256
"""Surrogates at a time: their windows are in memory together."""


@dataclass(frozen=True)
class EarlyWarning:
    """Trends of the two signs, and how often stationary noise has such.

    Attributes:
        variance: Kendall's tau of the rolling variance with time, in [-1, 1].
        autocorrelation: The same of the autocorrelation at lag 1.
        p_variance: Share of null surrogates with as large a tau.
        p_autocorrelation: The same.
        p: That either sign is there: twice the smaller of the two, at most 1 (Bonferroni).
    """

    variance: float
    autocorrelation: float
    p_variance: float
    p_autocorrelation: float

    @property
    def p(self) -> float:
        """The p-value of both signs together."""
        return min(1.0, 2 * min(self.p_variance, self.p_autocorrelation))


def early_warning(
    series: ArrayLike,
    *,
    window: float = 0.5,
    bandwidth: float = 0.2,
    surrogates: int = 499,
    seed: int = 0,
) -> EarlyWarning:
    """Look for early-warning signs in what came before a transition.

    Args:
        series: Shape (steps,), at least 30; up to the transition and not beyond it.
        window: Length of the rolling window, as a share of the series.
        bandwidth: Of the detrending kernel: its quartiles lie a quarter of this share of the
            series from its middle. The same convention as ewstools.
        surrogates: Null series.
        seed: Of the surrogates.

    Raises:
        ValueError: The series is too short, or a value is not finite.
    """
    x_S = np.asarray(series, dtype=np.float64)
    if len(x_S) < SHORTEST or not np.isfinite(x_S).all():
        raise ValueError(f"early-warning signs need {SHORTEST} finite values, not {len(x_S)}")
    rest = detrended(x_S[None], bandwidth)
    # A constant leaves rounding errors behind.
    if float(rest.std()) <= 1e-12 * max(1.0, float(np.abs(x_S).max())):
        return EarlyWarning(0.0, 0.0, 1.0, 1.0)
    rest = rest / rest.std()
    own = _trends(rest, window)[0]
    null = _null(len(x_S), window, bandwidth, surrogates * OVERSAMPLED, seed)
    nearest = np.argsort(np.abs(null.persistence - _persistence(rest)[0]), kind="stable")
    drawn = null.trends[nearest[:surrogates]]
    p = (1 + (drawn >= own).sum(axis=0)) / (1 + surrogates)
    return EarlyWarning(float(own[0]), float(own[1]), float(p[0]), float(p[1]))


def detrended(x_BS: Array, bandwidth: float) -> Array:
    """Subtract a Gaussian-kernel smooth; shape (batch, steps) in and out."""
    steps = np.arange(x_BS.shape[1])
    # A normal's quartiles are 0.6745 sd from its middle.
    sd = 0.25 * bandwidth * x_BS.shape[1] / 0.6745
    weight = np.exp(-0.5 * ((steps[:, None] - steps[None]) / sd) ** 2)
    return np.asarray(x_BS - x_BS @ (weight / weight.sum(axis=0)))


def _trends(rest_BS: Array, window: float) -> Array:
    """Return Kendall's tau of variance and autocorrelation; shape (batch, 2)."""
    width = max(10, round(window * rest_BS.shape[1]))
    mean = _rolling(rest_BS, width) / width
    variance = _rolling(rest_BS**2, width) / width - mean**2
    before, after = rest_BS[:, :-1], rest_BS[:, 1:]
    pairs = width - 1
    a, b = _rolling(before, pairs) / pairs, _rolling(after, pairs) / pairs
    product = _rolling(before * after, pairs) / pairs - a * b
    squares = (_rolling(before**2, pairs) / pairs - a**2) * (
        _rolling(after**2, pairs) / pairs - b**2
    )
    correlation = product / np.sqrt(np.maximum(squares, 1e-300))
    return np.stack([kendall(variance), kendall(correlation)], axis=1)


def _rolling(y_BS: Array, width: int) -> Array:
    """Return sums over windows of a width; shape (batch, steps - width + 1)."""
    total = np.cumsum(np.pad(y_BS, ((0, 0), (1, 0))), axis=1)
    return np.asarray(total[:, width:] - total[:, :-width])


def kendall(y_BT: Array) -> Array:
    """Return Kendall's tau of rows with time; shape (batch,). Ties count as nothing."""
    i, j = np.triu_indices(y_BT.shape[1], 1)
    return np.asarray(np.sign(y_BT[:, j] - y_BT[:, i]).mean(axis=1))


@dataclass(frozen=True)
class _Null:
    """Surrogates of one length: their trends, shape (n, 2), and persistence, shape (n,)."""

    trends: Array
    persistence: Array


@lru_cache(maxsize=8)
def _null(length: int, window: float, bandwidth: float, n: int, seed: int) -> _Null:
    """Draw stationary AR(1) series with coefficients from COEFFICIENTS; all have variance 1."""
    rng = np.random.default_rng(seed)
    phi = rng.permutation(np.linspace(*COEFFICIENTS, n))
    trends, persistence = [], []
    for first in range(0, n, CHUNK):
        phi_B = phi[first : first + CHUNK]
        noise = rng.standard_normal((len(phi_B), length))
        series = np.empty_like(noise)
        series[:, 0] = noise[:, 0]
        for step in range(1, length):
            series[:, step] = phi_B * series[:, step - 1] + np.sqrt(1 - phi_B**2) * noise[:, step]
        rest = detrended(series, bandwidth)
        trends.append(_trends(rest, window))
        persistence.append(_persistence(rest))
    return _Null(np.concatenate(trends), np.concatenate(persistence))


def _persistence(rest_BS: Array) -> Array:
    """Return the autocorrelation at lag 1 of whole rows; shape (batch,)."""
    centered = rest_BS - rest_BS.mean(axis=1, keepdims=True)
    product = (centered[:, 1:] * centered[:, :-1]).sum(axis=1)
    return np.asarray(product / np.maximum((centered**2).sum(axis=1), 1e-300))
