"""Rates, effects and their intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from custodes.diff.inference.randomization import Floats

__all__ = ["Effect", "measure"]


@dataclass(frozen=True)
class Effect:
    """How much more often B shows a behaviour, prompts counting equally.

    Attributes:
        rate_a: In [0, 1].
        rate_b: In [0, 1].
        low: Lower end of the 95% interval of ``rate_b - rate_a``.
        high: Upper end.
    """

    rate_a: float
    rate_b: float
    low: float
    high: float

    @property
    def effect(self) -> float:
        """B's rate minus A's."""
        return self.rate_b - self.rate_a


def measure(a: Floats, b: Floats, paired: bool) -> Effect:
    """Measure an effect and its 95% interval over prompts.

    Student's interval after adding one prompt that moved each way (Agresti & Min 2005, for
    matched pairs; Agresti & Caffo 2000 otherwise). It covers near 0 and for few prompts, where a
    bootstrap (BCa, too) does not: where no prompt moved, all its resamples are equal and its
    interval has no width.

    Args:
        a: A's mean for each prompt, shape (n,), or (n_a,) where the prompts differ.
        b: B's, shape (n,) or (n_b,).
        paired: Whether ``a[i]`` and ``b[i]`` belong to one prompt.
    """
    from scipy import stats

    rate_a, rate_b = float(a.mean()), float(b.mean())
    if paired:
        d = np.concatenate([b - a, [1.0, -1.0]])
        centre, error, freedom = d.mean(), d.std(ddof=1) / np.sqrt(len(d)), len(d) - 1
    else:
        a, b = np.append(a, [0.0, 1.0]), np.append(b, [0.0, 1.0])
        centre = b.mean() - a.mean()
        error = np.hypot(a.std(ddof=1) / np.sqrt(len(a)), b.std(ddof=1) / np.sqrt(len(b)))
        freedom = len(a) + len(b) - 2
    half = float(stats.t.ppf(0.975, freedom)) * float(error)
    low, high = max(-1.0, float(centre) - half), min(1.0, float(centre) + half)
    return Effect(rate_a, rate_b, min(low, rate_b - rate_a), max(high, rate_b - rate_a))
