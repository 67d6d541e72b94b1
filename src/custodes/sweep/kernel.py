"""The covariance of a landscape over mixed axes, for scikit-learn's Gaussian process."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.gaussian_process.kernels import Hyperparameter, Kernel

__all__ = ["MixedMatern"]

Array: TypeAlias = NDArray[np.float64]

CONSTANT = 1.0
"""Prior variance of the landscape's mean, in units of the values' variance."""


class MixedMatern(Kernel):  # type: ignore[misc]
    """Matérn 5/2 with one length for each axis, an unknown mean, and noise on what is measured.

    scikit-learn's own Matérn has one length for each column, so that an axis of five categories
    would have five.

    Args:
        amplitude: Variance of the landscape around its mean.
        lengths: One for each axis; an axis is 1 long.
        noise: Variance of a measurement.
        groups: The axis that each column belongs to.
    """

    def __init__(
        self,
        amplitude: float,
        lengths: Array,
        noise: float,
        groups: NDArray[np.int64],
    ) -> None:
        self.amplitude = amplitude
        self.lengths = lengths
        self.noise = noise
        self.groups = groups

    # scikit-learn finds hyperparameters by these names and sorts them by name.

    @property
    def hyperparameter_amplitude(self) -> Hyperparameter:
        """Variance of the landscape, optimised as a logarithm."""
        return Hyperparameter("amplitude", "numeric", (1e-3, 1e3))

    @property
    def hyperparameter_lengths(self) -> Hyperparameter:
        """Lengths of the axes, optimised as logarithms."""
        return Hyperparameter("lengths", "numeric", (1e-2, 1e2), self._axes)

    @property
    def hyperparameter_noise(self) -> Hyperparameter:
        """Variance of a measurement, optimised as a logarithm."""
        return Hyperparameter("noise", "numeric", (1e-7, 1e2))

    @property
    def _axes(self) -> int:
        # scikit-learn makes a number of a hyperparameter with one element.
        return int(np.size(self.lengths))

    def __call__(
        self, X: Array, Y: Array | None = None, eval_gradient: bool = False
    ) -> Array | tuple[Array, Array]:
        """Return the covariance; with noise where there is no Y, as the points are measured."""
        squares_ANM = self._squares(X, X if Y is None else Y)
        root_NM = np.sqrt(5 * squares_ANM.sum(axis=0))
        decay_NM = self.amplitude * np.exp(-root_NM)
        matern_NM = (1 + root_NM + root_NM**2 / 3) * decay_NM
        covariance_NM = matern_NM + CONSTANT
        if Y is not None:
            return np.asarray(covariance_NM)
        noise_NN = self.noise * np.eye(len(X))
        covariance_NM += noise_NN
        if not eval_gradient:
            return np.asarray(covariance_NM)
        slopes_ANM = squares_ANM * (5 / 3 * (1 + root_NM) * decay_NM)
        gradient = np.concatenate([matern_NM[None], slopes_ANM, noise_NN[None]])
        return covariance_NM, np.moveaxis(gradient, 0, -1)

    def diag(self, X: Array) -> Array:
        """Return the variance of the landscape itself, without the noise."""
        return np.full(len(X), self.amplitude + CONSTANT)

    def is_stationary(self) -> bool:
        """Return True: it depends on differences only."""
        return True

    def _squares(self, X: Array, Y: Array) -> Array:
        """Return squared distances in lengths, by axis; shape (axes, n, m)."""
        squares = np.zeros((self._axes, len(X), len(Y)))
        for column, axis in enumerate(self.groups):
            squares[axis] += (X[:, column, None] - Y[None, :, column]) ** 2
        # Two different categories differ in two columns: they are a distance of 1 apart.
        wide = np.bincount(self.groups, minlength=self._axes) > 1
        squares[wide] /= 2
        lengths = np.atleast_1d(self.lengths)[:, None, None]
        scaled: Any = squares / lengths**2
        return np.asarray(scaled, dtype=np.float64)
