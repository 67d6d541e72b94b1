"""Rates, effects and intervals of what was found, and what could have been found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from custodes.diff.inference.randomization import Floats

__all__ = ["Effect", "detectable", "measure"]


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
    matched pairs; Agresti & Caffo 2000 otherwise), which keeps it honest near 0 and for few
    prompts.

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


def detectable(n: int, score: float, base: float, power: float = 0.8) -> float | None:
    """Return the smallest rise of a rate that would probably be found.

    Args:
        n: Prompts, answered once by each side.
        score: −log10 of the p that a finding needs.
        base: A's rate, in [0, 1).
        power: How probably.

    Returns:
        The rise in rate, or None where even the largest would not be found.
    """
    from scipy import stats

    for rise in np.arange(0.002, 1 - base + 1e-9, 0.002):
        up, down = (base + rise) * (1 - base), base * max(1 - base - rise, 0)
        # Given d discordant prompts, those that moved up are binomial; d itself is, too.
        d = np.unique(stats.binom.ppf(np.linspace(0.02, 0.98, 25), n, up + down).astype(int))
        weight = stats.binom.pmf(d, n, up + down)
        need = stats.binom.isf(10.0**-score / 2, d, 0.5) + 1
        found = stats.binom.sf(need - 1, d, up / (up + down))
        if float((weight * found).sum() / weight.sum()) >= power:
            return float(rise)
    return None
