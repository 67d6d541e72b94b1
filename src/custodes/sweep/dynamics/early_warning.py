"""Early-warning signs: whether variance and autocorrelation rise before a transition.

1. The series is detrended with a Gaussian kernel.
2. In a rolling window: the variance, and the autocorrelation at lag 1.
3. Kendall's tau of each with time says whether it rises (Dakos et al., PLoS ONE 7(7), 2012).
4. Windows overlap, so tau is large by chance much of the time: on stationary noise it is above 0.5
   in a fifth of the series (docs/measurements/sweep.md). Its p-value comes from null surrogates:
   stationary AR(1) series of the same length, coefficient and variance, which go through 1 to 3.

The coefficient is estimated from the detrended series, with the correction of its bias towards 0
(Marriott and Pope, Biometrika 41, 1954).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["EarlyWarning", "early_warning", "kendall"]

Array: TypeAlias = NDArray[np.float64]

SHORTEST = 30


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
    own = _trends(rest, window)[0]
    # A constant leaves rounding errors behind.
    if float(rest.std()) <= 1e-12 * max(1.0, float(np.abs(x_S).max())):
        return EarlyWarning(0.0, 0.0, 1.0, 1.0)
    null = _surrogates(rest[0], surrogates, np.random.default_rng(seed))
    drawn = _trends(detrended(null, bandwidth), window)
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
    views = np.lib.stride_tricks.sliding_window_view(rest_BS, width, axis=1)
    variance = views.var(axis=2)
    before, after = views[..., :-1], views[..., 1:]
    a = before - before.mean(axis=2, keepdims=True)
    b = after - after.mean(axis=2, keepdims=True)
    scale = np.sqrt((a**2).sum(axis=2) * (b**2).sum(axis=2))
    correlation = (a * b).sum(axis=2) / np.where(scale > 0, scale, 1.0)
    return np.stack([kendall(variance), kendall(correlation)], axis=1)


def kendall(y_BT: Array) -> Array:
    """Return Kendall's tau of rows with time; shape (batch,). Ties count as nothing."""
    i, j = np.triu_indices(y_BT.shape[1], 1)
    return np.asarray(np.sign(y_BT[:, j] - y_BT[:, i]).mean(axis=1))


def _surrogates(rest_S: Array, n: int, rng: np.random.Generator) -> Array:
    """Draw stationary AR(1) series like the detrended one; shape (n, steps)."""
    length = len(rest_S)
    centered = rest_S - rest_S.mean()
    raw = float((centered[1:] * centered[:-1]).sum() / max((centered**2).sum(), 1e-300))
    phi = min(0.97, max(-0.97, raw + (1 + 3 * raw) / length))
    noise = rng.standard_normal((n, length))
    series = np.empty((n, length))
    series[:, 0] = noise[:, 0]
    for step in range(1, length):
        series[:, step] = phi * series[:, step - 1] + np.sqrt(1 - phi**2) * noise[:, step]
    return np.asarray(series * rest_S.std())
