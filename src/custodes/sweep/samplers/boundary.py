"""Where a landscape crosses a level, in few and noisy measurements.

1. The first points are a Sobol sequence.
2. A Gaussian process is fitted to what is told (`custodes.sweep.surrogate`).
3. Of many candidates, the measurement is taken that is expected to leave the least doubt about
   which points are above the level (`lookahead`). Points that were measured before are among the
   candidates, so that replicates are spent where noise needs them.
4. In a batch, each further point is chosen as if those before it had been measured and had come
   out as expected; so are points that were asked for earlier and are not told yet.
5. Every so many-th point is the one that lies farthest from all others, in case the process is
   wrong about a part of the space in which it sees nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from custodes.errors import ConfigError
from custodes.seeds import derive
from custodes.sweep.samplers.base import History, count
from custodes.sweep.samplers.lookahead import doubt, expected_doubt
from custodes.sweep.samplers.sobol import Sobol, sobol_units
from custodes.sweep.space import Point, SpaceLike
from custodes.sweep.surrogate import Surrogate, fit_surrogate

__all__ = ["Boundary"]

Array: TypeAlias = NDArray[np.float64]

POOL = 4096
"""Points of the space from which candidates and references are drawn."""
CANDIDATES = 192
REFERENCES = 768
REPLICATES = 64
"""At most so many of the candidates are points measured before."""
SUPPOSED = 256
"""At most so many points that are asked for and not told are supposed to be measured."""
NEAREST = 5
"""The variance of a measurement is expected to be that of so many nearest ones."""
EXPLORE = 8
"""One point in so many is the farthest from all others."""
REFIT = 1.1
"""Hyperparameters are looked for again when the data have grown by this factor."""


class Boundary:
    """Finds where the landscape is above a level.

    Args:
        space: Where to sample (see `custodes.sweep.space`).
        level: The value whose crossings are looked for.
        seed: Draws the first points and the candidates.

    Attributes:
        space: Where it samples.
        level: The level.
        history: What it was told.
    """

    def __init__(self, space: SpaceLike, *, level: float, seed: int = 0) -> None:
        if isinstance(level, bool) or not np.isfinite(level):
            raise ConfigError(f"level {level!r}", "a level is a finite number")
        self.history = History(space)
        self.space = self.history.space
        self.level = float(level)
        self.seed = seed
        self._sobol = Sobol(self.space, seed=derive(seed, "first points"))
        self._asks = 0
        self._chosen = 0
        self._fitted: tuple[int, Surrogate] | None = None
        self._searched = 0

    @property
    def first(self) -> int:
        """How many points come from the Sobol sequence."""
        return 4 + 3 * len(self.space.axes)

    def tell(
        self,
        points: Sequence[Mapping[str, Any]],
        values: Sequence[float],
        sd: float | Sequence[float] | None = None,
    ) -> None:
        """Take measured values; see `custodes.sweep.samplers.Sampler.tell`.

        Raises:
            ConfigError: A point is not in the space.
            DataError: A value is not finite, an sd is negative, or the numbers do not match.
        """
        self.history.tell(points, values, sd)

    def withdraw(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Expect points no longer: they will not be told."""
        self.history.withdraw(points)

    def skip(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Go on after points that another process was given."""
        first = min(len(points), self.first)
        self._sobol.skip(points[:first])
        self._asks += len(points)
        self._chosen += len(points) - first
        self.history.expect(points)

    def ask(self, n: int = 1) -> list[Point]:
        """Return n points to measure next, the most useful first."""
        n = count(n)
        self._asks += 1
        told, open_ = len(self.history.points), len(self.history.pending)
        first = n if told < 2 else min(n, max(0, self.first - told - open_))
        points = self._sobol.ask(first)
        self.history.expect(points)
        if n > first:
            chosen = self._choose(n - first)
            self.history.expect(chosen)
            points += chosen
        return points

    def probability_above(self, points: Sequence[Mapping[str, Any]]) -> Array:
        """Return the probability that the landscape (without noise) is above the level.

        Args:
            points: Where; any points of the space.

        Returns:
            Shape (n,). With nothing told it is 0.5 everywhere.
        """
        from scipy.special import ndtr

        x_NC = self.space.encode(points)
        if not self.history.points:
            return np.full(len(x_NC), 0.5)
        prediction = self.surrogate().predict(x_NC)
        return np.asarray(ndtr((prediction.mean - self.level) / prediction.sd))

    def surrogate(self) -> Surrogate:
        """Return the Gaussian process fitted to all that was told.

        Raises:
            ConfigError: Nothing was told.
        """
        history = self.history
        told = len(history.points)
        if not told:
            raise ConfigError("nothing was told yet", "tell a value first")
        if self._fitted is None or self._fitted[0] != told:
            search = self._fitted is None or told < 30 or told >= REFIT * self._searched
            self._searched = told if search else self._searched
            surrogate = fit_surrogate(
                self.space,
                self.space.encode(history.points),
                history.values,
                history.variances,
                start=None if self._fitted is None else self._fitted[1].theta,
                optimise=search,
            )
            self._fitted = (told, surrogate)
        return self._fitted[1]

    def _choose(self, n: int) -> list[Point]:
        pool = self.space.from_unit(
            sobol_units(len(self.space.axes), POOL, derive(self.seed, "pool", self._asks))
        )
        search = _Search(self, pool, np.random.default_rng(derive(self.seed, "ask", self._asks)))
        points = []
        for _ in range(n):
            self._chosen += 1
            explore = self._chosen % EXPLORE == 0
            points.append(search.farthest() if explore else search.best())
        return points


class _Search:
    """One search for a batch of points.

    Shapes: C candidates, then R references, both in T = C + R; K columns.
    """

    def __init__(self, boundary: Boundary, pool: list[Point], rng: np.random.Generator) -> None:
        self.space, history = boundary.space, boundary.history
        self.surrogate = boundary.surrogate()
        pool_PK = self.space.encode(pool)
        prediction = self.surrogate.predict(pool_PK)
        margin_P = np.abs(prediction.mean - boundary.level) / prediction.sd
        doubt_P = doubt(margin_P)
        doubt_P += 1e-12
        share_P = 0.5 / len(pool) + 0.5 * doubt_P / doubt_P.sum()
        share_P /= share_P.sum()
        reference_R = rng.choice(len(pool), REFERENCES, replace=False, p=share_P)
        candidate_C = rng.choice(len(pool), CANDIDATES, replace=False, p=share_P)
        # Drawn where the doubt is, references stand for the less space each.
        self.weight_R = 1 / share_P[reference_R]
        again = self._measured(boundary)
        self.candidates = [pool[i] for i in candidate_C] + again
        x_CK = np.concatenate([pool_PK[candidate_C], self.space.encode(again)])
        self.x_TK = np.concatenate([x_CK, pool_PK[reference_R]])
        predicted = self.surrogate.predict(self.x_TK)
        self.mean_T = predicted.mean - boundary.level
        self.cross_CT = self.surrogate.covariance(x_CK, self.x_TK)
        self.variance_T = predicted.sd**2
        known = _Nearby(self.space.encode(history.points), history.variances)
        self.noise_C = self.surrogate.noise_sd**2 + known(x_CK)
        self._known = known
        self.taken_NK = self.space.encode([*history.points, *history.pending])
        if history.pending:
            self._suppose(self.space.encode(history.pending[-SUPPOSED:]))

    def _measured(self, boundary: Boundary) -> list[Point]:
        """Return points that were measured before, those nearest to the level."""
        known = {self.space.key(point): point for point in boundary.history.points}
        points = list(known.values())
        prediction = self.surrogate.predict(points)
        order = np.argsort(-doubt(np.abs(prediction.mean - boundary.level) / prediction.sd))
        return [points[i] for i in order[:REPLICATES]]

    def best(self) -> Point:
        """Choose the candidate that is expected to leave the least doubt."""
        c = len(self.candidates)
        sd_R = np.sqrt(self.variance_T[c:])
        a_R = np.abs(self.mean_T[c:]) / sd_R
        reach_C = np.sqrt(self.variance_T[:c] + self.noise_C)
        rho_CR = np.abs(self.cross_CT[:, c:]) / (reach_C[:, None] * sd_R)
        gain_C = (doubt(a_R) - expected_doubt(a_R, rho_CR)) @ self.weight_R
        if gain_C.max() <= 1e-9 * self.weight_R.sum():
            return self.farthest()
        return self._take(int(np.argmax(gain_C)))

    def farthest(self) -> Point:
        """Choose the candidate that is farthest from everything measured or asked for."""
        c = len(self.candidates)
        distance = ((self.x_TK[:c, None] - self.taken_NK[None]) ** 2).sum(axis=2).min(axis=1)
        return self._take(int(np.argmax(distance)))

    def _take(self, index: int) -> Point:
        x_1K = self.x_TK[index : index + 1]
        self.taken_NK = np.concatenate([self.taken_NK, x_1K])
        self._update(self.cross_CT[index].copy(), self.variance_T[index] + self.noise_C[index])
        return dict(self.candidates[index])

    def _suppose(self, x_PK: Array) -> None:
        """Suppose that points asked for had been measured and had come out as expected."""
        from scipy.linalg import solve_triangular

        noise_P = self.surrogate.noise_sd**2 + self._known(x_PK) + 1e-9 * self.surrogate.scale**2
        own_PP = self.surrogate.covariance(x_PK, x_PK) + np.diag(noise_P)
        root_PT = solve_triangular(
            np.linalg.cholesky(own_PP), self.surrogate.covariance(x_PK, self.x_TK), lower=True
        )
        self.cross_CT -= root_PT[:, : len(self.candidates)].T @ root_PT
        self.variance_T = np.maximum(self.variance_T - (root_PT**2).sum(axis=0), 1e-12)

    def _update(self, cross_T: Array, total: float) -> None:
        """Condition on a measurement: variances fall, means stay.

        ``total`` is the measurement's variance, the landscape's and the noise's together.
        """
        c = len(self.candidates)
        self.cross_CT -= np.outer(cross_T[:c], cross_T) / total
        self.variance_T = np.maximum(self.variance_T - cross_T**2 / total, 1e-12)


class _Nearby:
    """The known variance that a measurement would have: that of those nearest to it."""

    def __init__(self, x_NK: Array, variances: Array) -> None:
        known = np.isfinite(variances)
        self.x_NK, self.logs = x_NK[known], np.log(np.maximum(variances[known], 1e-300))

    def __call__(self, x_MK: Array) -> Array:
        """Return the geometric mean of the variances of the nearest; 0 where none is known."""
        if not len(self.logs):
            return np.zeros(len(x_MK))
        k = min(NEAREST, len(self.logs))
        distance_MN = ((x_MK[:, None] - self.x_NK[None]) ** 2).sum(axis=2)
        nearest_Mk = np.argpartition(distance_MN, k - 1, axis=1)[:, :k]
        return np.asarray(np.exp(self.logs[nearest_Mk].mean(axis=1)))
