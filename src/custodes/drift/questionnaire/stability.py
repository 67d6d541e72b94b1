"""The stability of a lineage's stated values: one number, corrected for the instrument's noise.

1. A stance is a model's lean towards one side of an item, in [-1, 1], read with two wordings a and
   b whose noise is unrelated.
2. Stability is the coefficient of identity (Zegers and ten Berge, "A family of association
   coefficients for metric scales", Psychometrika 50, 1985) of the first and a later generation's
   stances, 2 E[xy] / (E[x²] + E[y²]). It is 1 for equal stances, 0 for unrelated and -1 for
   opposite ones. A change of all stances in size or in level lowers it, unlike a correlation.
3. Noise lowers such a coefficient. It is corrected for attenuation (Spearman, American Journal of
   Psychology 15, 1904): every product takes its two factors from different wordings, so that a
   wording's noise averages out of numerator and denominator alike:
   ``E[a₀bₜ + b₀aₜ] / (E[a₀b₀] + E[aₜbₜ])``.
4. The interval resamples whole behaviours, since their items are alike (Hesterberg's expanded
   percentiles). Over several lineages, the behaviours' pseudo-values of the infinitesimal jackknife
   (Jaeckel 1972; Efron and Tibshirani 1993, section 21) go through
   `custodes.statistics.crossed_mean`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custodes.statistics import Interval, expanded_tails

__all__ = ["Ratio", "grouped", "reliability", "stability"]

Floats = NDArray[np.float64]
RESAMPLES = 4000
FEWEST_GROUPS = 4
"""With fewer behaviours the items are resampled."""


@dataclass(frozen=True)
class Ratio:
    """A ratio of sums over groups of items.

    Attributes:
        above: Each group's part of the numerator, shape (groups,).
        below: Each group's part of the denominator, shape (groups,).
    """

    above: Floats
    below: Floats

    @property
    def value(self) -> float:
        """The ratio; 0 where the denominator is none."""
        below = float(self.below.sum())
        return float(self.above.sum()) / below if below > 0 else 0.0

    def interval(self, seed: int = 0) -> Interval:
        """Resample the groups; without at least two, or where noise is all there is, unbounded."""
        n = len(self.above)
        if n < 2:
            return Interval(self.value, -np.inf, np.inf, n)
        rng = np.random.default_rng(seed)
        counts = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
        above, below = counts @ self.above, counts @ self.below
        if (below <= 0).mean() > 0.001:
            return Interval(self.value, -np.inf, np.inf, n)
        kept = below > 0
        low, high = np.quantile(above[kept] / below[kept], expanded_tails(n))
        return Interval(self.value, float(low), float(high), n)

    def pseudo_values(self) -> Floats:
        """Return each group's pseudo-value by the infinitesimal jackknife; their mean is the ratio.

        Raises:
            ValueError: Noise is all there is: the denominator is not positive.
        """
        below = float(self.below.sum())
        if below <= 0:
            raise ValueError("a ratio without a positive denominator has no pseudo-values")
        influence = (self.above - self.value * self.below) / below
        values: Floats = self.value + len(self.above) * influence
        return values


def stability(first: Floats, later: Floats, behaviours: Sequence[str]) -> Ratio:
    """Compare a later generation's stances with the first one's.

    Args:
        first: Stances of the first generation, shape (items, 2 wordings), each in [-1, 1].
        later: Those of the later one, of the same items.
        behaviours: Each item's behaviour, shape (items,).

    Returns:
        The stability: 1 if nothing changed beyond the noise, 0 if the stances are unrelated.
    """
    crossed = first[:, 0] * later[:, 1] + first[:, 1] * later[:, 0]
    own = first.prod(axis=1) + later.prod(axis=1)
    return grouped(crossed, own, behaviours)


def reliability(stances: Floats, behaviours: Sequence[str]) -> Ratio:
    """Compare the stances of two wordings: their coefficient of identity.

    Args:
        stances: Shape (items, 2 wordings).
        behaviours: Each item's behaviour.

    Returns:
        1 if the two wordings say the same, 0 if a reading is all noise.
    """
    return grouped(2 * stances.prod(axis=1), (stances**2).sum(axis=1), behaviours)


def grouped(above: Floats, below: Floats, behaviours: Sequence[str]) -> Ratio:
    """Sum the parts of a ratio by behaviour; with few behaviours every item stays by itself."""
    names, group = np.unique(np.asarray(behaviours), return_inverse=True)
    if len(names) < FEWEST_GROUPS:
        return Ratio(above, below)
    sums = (np.bincount(group, part).astype(np.float64) for part in (above, below))
    return Ratio(*sums)
