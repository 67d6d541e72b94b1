"""A Gaussian process over a mixed space: what is expected where nothing was measured, and how sure.

scikit-learn's `GaussianProcessRegressor` with three things it lacks for few and noisy runs:

1. Hyperparameters are the most probable ones under weak priors (below), not the most likely ones:
   with a dozen points the likelihood alone often says that all is noise, or nothing is.
2. One length for each axis, also where an axis is categorical (`custodes.sweep.kernel`).
3. A known variance of a value is kept apart from the noise that is estimated on top of it.

Priors, in units where the values have variance 1 and an axis is 1 long; all lognormal, as (median,
standard deviation of the logarithm): length (0.5 * sqrt(axes / 2), 0.8), amplitude (1, 1), noise
variance (0.01, 2.5), or (0.001, 2.5) where the values came with their variances.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from custodes.sweep.space import Space

if TYPE_CHECKING:
    from sklearn.gaussian_process import GaussianProcessRegressor

__all__ = ["Prediction", "Surrogate", "fit_surrogate"]

Array: TypeAlias = NDArray[np.float64]

STEPS = 40
"""Iterations of the optimiser (L-BFGS) over the hyperparameters."""

JITTER = 1e-8


@dataclass(frozen=True)
class Prediction:
    """What is expected at n points, in the values' units.

    Attributes:
        mean: Of the landscape; shape (n,).
        sd: Of the landscape itself, not of a new measurement; shape (n,).
    """

    mean: Array
    sd: Array


class Surrogate:
    """A fitted Gaussian process. Make one with `fit_surrogate`.

    Attributes:
        space: Where it is defined.
        theta: Logarithms of amplitude, lengths and noise variance, in standardised units.
        center, scale: A value is ``center + scale * standardised``.
    """

    def __init__(
        self, space: Space, gp: GaussianProcessRegressor, center: float, scale: float
    ) -> None:
        self.space, self.center, self.scale = space, center, scale
        self.theta: Array = gp.kernel_.theta
        self._gp = gp

    @property
    def values(self) -> Array:
        """What it was fitted to; shape (measured,)."""
        return np.asarray(self.center + self.scale * self._gp.y_train_)

    @property
    def noise_sd(self) -> float:
        """Standard deviation of a measurement, beyond what was known, in the values' units."""
        return float(math.exp(self.theta[-1] / 2) * self.scale)

    def predict(self, points: Sequence[Mapping[str, Any]] | Array) -> Prediction:
        """Predict the landscape at points (dicts, or encoded ones)."""
        x_NC = points if isinstance(points, np.ndarray) else self.space.encode(points)
        if len(x_NC) == 0:
            return Prediction(np.empty(0), np.empty(0))
        mean, root = self.half(x_NC)
        variance = self._gp.kernel_.diag(x_NC) - (root**2).sum(axis=0)
        sd = np.sqrt(np.maximum(variance, 1e-12))
        return Prediction(self.center + self.scale * mean, self.scale * sd)

    def half(self, x_NC: Array) -> tuple[Array, Array]:
        """Return standardised means, shape (n,), and L⁻¹k, shape (measured, n), at points."""
        from scipy.linalg import solve_triangular

        cross_NM = self._gp.kernel_(x_NC, self._gp.X_train_)
        root_MN = solve_triangular(self._gp.L_, cross_NM.T, lower=True, check_finite=False)
        return cross_NM @ self._gp.alpha_, root_MN

    def covariance(self, x_NC: Array, y_MC: Array) -> Array:
        """Return the posterior covariance between points, in the values' units squared."""
        prior_NM = self._gp.kernel_(x_NC, y_MC)
        return np.asarray(self.scale**2 * (prior_NM - self.half(x_NC)[1].T @ self.half(y_MC)[1]))

    def left_out(self, groups: NDArray[np.int64] | None = None) -> Prediction:
        """Predict each group of measurements from all the others.

        The block form of leave-one-out (Rasmussen and Williams 2006, 5.4.2; for blocks: Ginsbourger
        and Schärer, Journal of Computational and Graphical Statistics, 2024): with Q the inverse of
        the covariance of all measurements, those of group G miss their prediction by
        ``inv(Q_GG) (Q y)_G``, which has the covariance ``inv(Q_GG)``.

        Args:
            groups: The group of each measurement, numbered from 0; shape (measured,). By default
                each is its own group.

        Returns:
            By group: the mean that was predicted for the group's measurements, and the standard
            deviation of their actual mean around it, noise included.
        """
        from scipy.linalg import cho_solve

        gp = self._gp
        inverse = cho_solve((gp.L_, True), np.eye(len(gp.X_train_)), check_finite=False)
        of = np.arange(len(gp.X_train_)) if groups is None else groups
        mean, sd = np.empty(of.max() + 1), np.empty(of.max() + 1)
        for group in range(len(mean)):
            rows = np.flatnonzero(of == group)
            block = np.linalg.inv(inverse[np.ix_(rows, rows)])
            mean[group] = (gp.y_train_[rows] - block @ gp.alpha_[rows]).mean()
            sd[group] = math.sqrt(block.mean())
        return Prediction(self.center + self.scale * mean, self.scale * sd)

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw what would have been measured, had the landscape been another of the same kind.

        Returns:
            Shape (n, measured): landscapes with the fitted hyperparameters, with noise.
        """
        noise = rng.standard_normal((n, len(self._gp.X_train_)))
        return np.asarray(self.center + self.scale * noise @ self._gp.L_.T)


def fit_surrogate(
    space: Space,
    x_NC: Array,
    values: Array,
    variances: Array | None = None,
    *,
    start: Array | None = None,
    optimise: bool = True,
) -> Surrogate:
    """Fit a Gaussian process.

    Args:
        space: Where the points are.
        x_NC: Encoded points; n >= 1.
        values: Measurements; shape (n,), finite.
        variances: Their known variances; NaN where unknown. Shape (n,).
        start: Hyperparameters to start from: the ``theta`` of an earlier fit.
        optimise: Whether to look for better hyperparameters than ``start``.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor

    from custodes.sweep.kernel import MixedMatern

    center = float(values.mean())
    spread = float(values.std())
    scale = spread if spread > 1e-9 * max(1.0, abs(center)) else max(1e-9, 1e-3 * abs(center))
    known = np.zeros(len(values)) if variances is None else np.nan_to_num(variances, nan=0.0)
    prior = _Prior(len(space.axes), bool(variances is not None and np.isfinite(variances).all()))
    theta = prior.median if start is None else start
    kernel = MixedMatern(1.0, np.ones(len(space.axes)), 1.0, space.groups)
    gp = GaussianProcessRegressor(
        kernel.clone_with_theta(theta),
        alpha=JITTER + known / scale**2,
        optimizer=prior.most_probable if optimise else None,
        copy_X_train=False,
    )
    with warnings.catch_warnings():
        # Bounds are wide: one that is reached says that an axis does not matter, or noise.
        warnings.simplefilter("ignore", ConvergenceWarning)
        gp.fit(x_NC, (values - center) / scale)
    return Surrogate(space, gp, center, scale)


class _Prior:
    """Independent normal priors on the logarithms of the hyperparameters."""

    def __init__(self, axes: int, known_noise: bool) -> None:
        length = math.log(0.5 * math.sqrt(axes / 2))
        noise = math.log(0.001 if known_noise else 0.01)
        self.median = np.array([0.0, *[length] * axes, noise])
        self.sd = np.array([1.0, *[0.8] * axes, 2.5])

    def most_probable(
        self, objective: Callable[..., tuple[float, Array]], start: Array, bounds: Array
    ) -> tuple[Array, float]:
        """Minimise the negative log posterior, as scikit-learn's ``optimizer``."""
        from scipy.optimize import minimize

        def negative(theta: Array) -> tuple[float, Array]:
            value, slope = objective(theta, eval_gradient=True)
            off = (theta - self.median) / self.sd
            return float(value + 0.5 * off @ off), np.asarray(slope + off / self.sd)

        best: Any = minimize(  # type: ignore[call-overload]
            negative, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS}
        )
        return best.x, float(best.fun)
