"""What a measurement is worth for a boundary: the expected fall of the doubt about it.

A point is above the level with probability p = Φ(m/s), where m is the expected distance from the
level and s its standard deviation. The doubt there is p(1-p), and the doubt of the space its mean.
A measurement at x moves m at z by a normal δ of variance ρ²s², and leaves (1-ρ²)s², where ρ² is
the share of the variance at z that a measurement at x explains. So, with a = |m|/s, the doubt
after it is expected to be

    G(a, ρ) = E[Φ((a + ρε)/√(1-ρ²)) · Φ(-(a + ρε)/√(1-ρ²))],  ε standard normal.

This is stepwise uncertainty reduction (Bect, Ginsbourger, Li, Picheny and Vazquez, Statistics and
Computing 22, 2012, criterion J₂; Chevalier et al., Technometrics 56, 2014). Noise needs no rule of
its own: where it is large ρ is small, and measuring the same point again is a candidate like any
other. G is tabulated once.
"""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["doubt", "expected_doubt"]

Array: TypeAlias = NDArray[np.float64]

FARTHEST = 6.0
"""Beyond so many standard deviations from the level there is no doubt."""
ROWS, COLUMNS = 121, 101


def doubt(a: Array) -> Array:
    """Return p(1-p) at a distance of ``a`` standard deviations from the level."""
    from scipy.special import ndtr

    return np.asarray(ndtr(a) * ndtr(-a))


def expected_doubt(a: Array, rho: Array) -> Array:
    """Return G by interpolation in its table.

    Args:
        a: Distances from the level in standard deviations, >= 0; shape (m,).
        rho: Correlations of the measurement with the landscape, in [0, 1]; shape (c, m).
    """
    table = _table()
    row = np.minimum(a, FARTHEST) * ((ROWS - 1) / FARTHEST)
    column = np.clip(rho, 0, 1) ** 2 * (COLUMNS - 1)
    i = np.minimum(row.astype(np.int64), ROWS - 2)
    j = np.minimum(column.astype(np.int64), COLUMNS - 2)
    u, v = row - i, column - j
    flat, at = table.ravel(), i * COLUMNS + j
    low = flat[at] * (1 - v) + flat[at + 1] * v
    high = flat[at + COLUMNS] * (1 - v) + flat[at + COLUMNS + 1] * v
    return np.asarray(low * (1 - u) + high * u)


@cache
def _table() -> Array:
    """Return G at ROWS distances and COLUMNS values of ρ²; by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    a = np.linspace(0, FARTHEST, ROWS)[:, None, None]
    squared = np.linspace(0, 1, COLUMNS)[None, :, None]
    after = (a + np.sqrt(squared) * nodes) / np.sqrt(np.maximum(1 - squared, 1e-9))
    return np.asarray((doubt(after) * weights).sum(axis=-1) / weights.sum())
