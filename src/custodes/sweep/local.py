"""Large maps: each point is predicted from its nearest others only.

A Gaussian process over n points costs n³. Given its nearest neighbours, a point depends little on
those farther away (Vecchia, JRSS B 50, 1988; Datta et al., JASA 111, 2016), so each point has a
process of its own over its neighbours, with the hyperparameters of one surrogate for all. Cost and
memory grow as n log n. The prediction's weights do not depend on the values, so that a hundred null
maps cost little more than one.

Shapes: G points, K columns, k neighbours, B points of a batch.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from custodes.sweep.space import Space
from custodes.sweep.surrogate import Surrogate

__all__ = ["Neighbourhoods", "nearest"]

Array: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]

NEIGHBOURS = 32
BATCH = 2000
"""Points whose neighbourhoods are solved together."""
FEATURES = 1024
"""Random waves that a null map is the sum of."""
LEFT_OUT = 1e6
"""Variance of a neighbour that is left out, in units of the values' variance."""


def nearest(x_GK: Array, k: int) -> Indices:
    """Return each point's k nearest others, nearest first; shape (G, k), k < G."""
    from scipy.spatial import cKDTree

    found = np.asarray(cKDTree(x_GK).query(x_GK, k + 1)[1])
    # The point itself comes first, except among points at the same place.
    other = found != np.arange(len(x_GK))[:, None]
    other[other.all(axis=1), -1] = False
    return np.asarray(found[other].reshape(len(x_GK), k), dtype=np.int64)


class Neighbourhoods:
    """Predicts every point of a map from its neighbours.

    Args:
        space: Of the map.
        x_GK: Encoded points, all different.
        surrogate: Has the hyperparameters, and the values' center and scale.
        noise: Variance of each point's value, in the values' units squared; shape (G,).
    """

    def __init__(self, space: Space, x_GK: Array, surrogate: Surrogate, noise: Array) -> None:
        from custodes.sweep.kernel import CONSTANT

        theta = np.exp(surrogate.theta)
        self.amplitude, self.constant = float(theta[0]), CONSTANT
        lengths = theta[1:-1][space.groups]
        wide = np.bincount(space.groups)[space.groups] > 1
        self.z_GK = x_GK / (lengths * np.where(wide, np.sqrt(2), 1.0))
        self.center, self.scale = surrogate.center, surrogate.scale
        self.noise_G = noise / self.scale**2
        self.near_Gk = nearest(self.z_GK, min(NEIGHBOURS, len(x_GK) - 1))
        nobody = np.zeros(len(x_GK), dtype=bool)
        self.weight_Gk, self.variance_G = self._solve(np.arange(len(x_GK)), nobody)

    def predict(self, values: Array, left_out: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Predict each value from its neighbours.

        Args:
            values: Shape (G,).
            left_out: Points that say nothing about others; shape (G,).

        Returns:
            What is expected, and the standard deviation of the value around it; shape (G,) each.
        """
        weight_Gk, variance_G = self.weight_Gk, self.variance_G
        touched = np.flatnonzero(left_out[self.near_Gk].any(axis=1))
        if len(touched):
            weight_Gk, variance_G = weight_Gk.copy(), variance_G.copy()
            weight_Gk[touched], variance_G[touched] = self._solve(touched, left_out)
        y_G = (values - self.center) / self.scale
        mean_G = (weight_Gk * y_G[self.near_Gk]).sum(axis=1)
        return self.center + self.scale * mean_G, self.scale * np.sqrt(variance_G)

    def draw(self, maps: int, rng: np.random.Generator) -> Array:
        """Draw null maps: landscapes of the same kind (Rahimi and Recht, NeurIPS 2007), with noise.

        Returns:
            Shape (maps, G).
        """
        k = self.z_GK.shape[1]
        # The spectrum of a Matérn 5/2 is a multivariate t with 5 degrees of freedom.
        spread = np.sqrt(rng.chisquare(5, FEATURES) / 5)
        waves_KF = rng.standard_normal((k, FEATURES)) / spread
        phase_F = rng.uniform(0, 2 * np.pi, FEATURES)
        height_MF = rng.standard_normal((maps, FEATURES)) * np.sqrt(2 * self.amplitude / FEATURES)
        level_M = np.sqrt(self.constant) * rng.standard_normal(maps)
        y_MG = np.empty((maps, len(self.z_GK)))
        for first in range(0, len(self.z_GK), BATCH):
            part = slice(first, first + BATCH)
            y_MG[:, part] = height_MF @ np.cos(self.z_GK[part] @ waves_KF + phase_F).T
        y_MG += level_M[:, None] + np.sqrt(self.noise_G) * rng.standard_normal(y_MG.shape)
        return np.asarray(self.center + self.scale * y_MG)

    def _solve(self, rows: Indices, left_out: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Return the weights of some points' neighbours, and the variances of their values."""
        weight = np.empty((len(rows), self.near_Gk.shape[1]))
        variance = np.empty(len(rows))
        for first in range(0, len(rows), BATCH):
            part = rows[first : first + BATCH]
            near_Bk = self.near_Gk[part]
            z_BkK = self.z_GK[near_Bk]
            among_Bkk = self._covariance(z_BkK[:, :, None] - z_BkK[:, None])
            noise_Bk = np.where(left_out[near_Bk], LEFT_OUT, self.noise_G[near_Bk] + 1e-8)
            diagonal = np.arange(near_Bk.shape[1])
            among_Bkk[:, diagonal, diagonal] += noise_Bk
            across_Bk = self._covariance(z_BkK - self.z_GK[part][:, None])
            weight_Bk = np.linalg.solve(among_Bkk, across_Bk[..., None])[..., 0]
            weight[first : first + BATCH] = weight_Bk
            own = self.amplitude + self.constant + self.noise_G[part]
            variance[first : first + BATCH] = own - (weight_Bk * across_Bk).sum(axis=1)
        return weight, np.maximum(variance, 1e-12)

    def _covariance(self, difference: Array) -> Array:
        root = np.sqrt(5 * (difference**2).sum(axis=-1))
        matern = (1 + root + root**2 / 3) * np.exp(-root)
        return np.asarray(self.amplitude * matern + self.constant)
