"""Where a landscape crosses a level, in few and noisy measurements.

1. The first points are a Sobol sequence.
2. A Gaussian process is fitted to what is told (`custodes.sweep.surrogate`). A second one supposes
   that the landscape is rougher than it looks; it has an eighth of the say. With it, the space
   between the points is in doubt wherever a bump could hide there.
3. Of many candidates, the measurement is taken that is expected to leave the least doubt about
   which points are above the level (`lookahead`). Points that were measured before are among the
   candidates, so that replicates are spent where noise needs them.
4. In a batch, each further point is chosen as if those before it had been measured and had come
   out as expected; so are points that were asked for earlier and are not told yet.
5. With a prior, such as a simulator's forecast, both processes are of the difference to it. The
   measurements then go where the prior is near the level and may be wrong (Kennedy and O'Hagan,
   Biometrika 87, 2000).
6. Of many measurements, the processes are fitted to those most in doubt and to some others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from custodes.errors import ConfigError, DataError
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
ROUGHER = (math.log(2.0), math.log(0.6))
"""How a landscape may be rougher than it looks: logarithms added to its amplitude and lengths."""
ROUGH = 0.125
"""Weight of the rougher landscape."""
REFIT = 1.1
"""Hyperparameters are looked for again when the data have grown by this factor."""
MOST = 400
"""The processes are fitted to at most so many measurements."""
RANDOM = 100
"""Of these, so many are drawn at random."""
AHEAD = 100
"""Beyond MOST measurements, one point in so many told is chosen ahead of being asked for."""


class Boundary:
    """Finds where the landscape is above a level.

    Args:
        space: Where to sample (see `custodes.sweep.space`).
        level: The value whose crossings are looked for.
        seed: Draws the first points and the candidates.
        prior: Says what is expected of points before anything is measured, one value for each; it
            may be wrong.

    Attributes:
        space: Where it samples.
        level: The level.
        history: What it was told.
    """

    def __init__(
        self,
        space: SpaceLike,
        *,
        level: float,
        seed: int = 0,
        prior: Callable[[Sequence[Point]], ArrayLike] | None = None,
    ) -> None:
        if isinstance(level, bool) or not np.isfinite(level):
            raise ConfigError(f"level {level!r}", "a level is a finite number")
        self.history = History(space)
        self.space = self.history.space
        self.level = float(level)
        self.seed = seed
        self._prior = prior
        self._prior_N: Array = np.empty(0)
        self._sobol = Sobol(self.space, seed=derive(seed, "first points"))
        self._asks = 0
        self._ahead: list[Point] = []
        self._fitted: tuple[int, Surrogate] | None = None
        self._rough: tuple[int, Surrogate] | None = None
        self._searched = 0
        self._rows: NDArray[np.int64] = np.empty(0, dtype=np.int64)

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
        self._sobol.skip(points[: min(len(points), self.first)])
        self._asks += len(points)
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
        return np.asarray(ndtr((prediction.mean - self.levels(points)) / prediction.sd))

    def levels(self, points: Sequence[Mapping[str, Any]]) -> Array:
        """Return the level at points, as seen from the prior; shape (n,)."""
        return self.level - self._expected(points)

    def surrogate(self) -> Surrogate:
        """Return the Gaussian process fitted to what was told, less the prior.

        Raises:
            ConfigError: Nothing was told.
        """
        told = len(self.history.points)
        if not told:
            raise ConfigError("nothing was told yet", "tell a value first")
        if self._fitted is None and told > MOST:
            # A first look, by which those in doubt are chosen.
            self._rows = np.random.default_rng(self.seed).permutation(told)[:MOST]
            self._fitted = (0, self._fit(None, True))
        due = 1 if told <= MOST else told // AHEAD
        if self._fitted is None or told - self._fitted[0] >= due or told < self._fitted[0]:
            search = self._fitted is None or told < 30 or told >= REFIT * self._searched
            self._searched = told if search else self._searched
            start = None if self._fitted is None else self._fitted[1].theta
            self._rows = self._active()
            self._fitted = (told, self._fit(start, search))
        return self._fitted[1]

    def surrogates(self) -> tuple[Surrogate, Surrogate]:
        """Return the surrogate, and one of a rougher landscape fitted to the same."""
        smooth = self.surrogate()
        assert self._fitted is not None
        if self._rough is None or self._rough[0] != self._fitted[0]:
            theta = smooth.theta.copy()
            theta[0] += ROUGHER[0]
            theta[1:-1] += ROUGHER[1]
            self._rough = (self._fitted[0], self._fit(theta, False))
        return smooth, self._rough[1]

    def active(self) -> tuple[Array, Array, list[Point]]:
        """Return what the surrogate is fitted to: encoded points, known variances, and points."""
        history = self.history
        points = [history.points[i] for i in self._rows]
        return history.encoded[self._rows], history.variances[self._rows], points

    def _active(self) -> NDArray[np.int64]:
        """Choose the measurements to fit to: all, or those most in doubt and some others."""
        told = len(self.history.points)
        if told <= MOST or self._fitted is None:
            return np.arange(told)
        surrogate, x_NC = self._fitted[1], self.history.encoded
        levels = self.level - self._prior_of_told()
        near = _doubt(surrogate, x_NC, levels)
        chosen = np.argsort(-near, kind="stable")[: MOST - RANDOM]
        rest = np.setdiff1d(np.arange(told), chosen)
        rng = np.random.default_rng(derive(self.seed, "active", told))
        return np.sort(np.concatenate([chosen, rng.choice(rest, RANDOM, replace=False)]))

    def _fit(self, start: Array | None, search: bool) -> Surrogate:
        history, rows = self.history, self._rows
        return fit_surrogate(
            self.space,
            history.encoded[rows],
            history.values[rows] - self._prior_of_told()[rows],
            history.variances[rows],
            start=start,
            optimise=search,
        )

    def _prior_of_told(self) -> Array:
        known = len(self._prior_N)
        if known < len(self.history.points):
            fresh = self._expected(self.history.points[known:])
            self._prior_N = np.concatenate([self._prior_N, fresh])
        return self._prior_N

    def _expected(self, points: Sequence[Mapping[str, Any]]) -> Array:
        if self._prior is None or not len(points):
            return np.zeros(len(points))
        expected = np.asarray(self._prior([dict(point) for point in points]), dtype=np.float64)
        if expected.shape != (len(points),) or not np.isfinite(expected).all():
            raise DataError(
                f"the prior's values have shape {expected.shape} or are not finite",
                "return one finite number for each point",
            )
        return expected

    def _choose(self, n: int) -> list[Point]:
        told = len(self.history.points)
        if len(self._ahead) < n:
            more = n if told <= MOST else max(n, told // AHEAD)
            pool = self.space.from_unit(
                sobol_units(len(self.space.axes), POOL, derive(self.seed, "pool", self._asks))
            )
            rng = np.random.default_rng(derive(self.seed, "ask", self._asks))
            search = _Search(self, pool, rng)
            self._ahead = [search.best() for _ in range(more)]
        points, self._ahead = self._ahead[:n], self._ahead[n:]
        return points


class _Belief:
    """What one surrogate expects of candidates and references, and what measuring would change.

    Shapes: C candidates, then R references, both in T = C + R; K columns.
    """

    def __init__(
        self, surrogate: Surrogate, level_T: Array, x_TK: Array, candidates: int, known: _Nearby
    ) -> None:
        self.surrogate, self.known, self.c = surrogate, known, candidates
        predicted = surrogate.predict(x_TK)
        self.mean_T = predicted.mean - level_T
        self.variance_T = predicted.sd**2
        self.cross_CT = surrogate.covariance(x_TK[:candidates], x_TK)
        self.noise_C = surrogate.noise_sd**2 + known(x_TK[:candidates])
        self.x_TK = x_TK
        # In the values' units: a bound of its own would be noise where these are small.
        self.least = 1e-12 * surrogate.scale**2

    def gain(self, weight_R: Array) -> Array:
        """Return by how much measuring each candidate is expected to lower the doubt."""
        sd_R = np.sqrt(self.variance_T[self.c :])
        a_R = np.abs(self.mean_T[self.c :]) / sd_R
        reach_C = np.sqrt(self.variance_T[: self.c] + self.noise_C)
        rho_CR = np.abs(self.cross_CT[:, self.c :]) / (reach_C[:, None] * sd_R)
        return np.asarray((doubt(a_R) - expected_doubt(a_R, rho_CR)) @ weight_R)

    def suppose(self, x_PK: Array) -> None:
        """Suppose that points asked for had been measured and had come out as expected."""
        from scipy.linalg import solve_triangular

        surrogate = self.surrogate
        noise_P = surrogate.noise_sd**2 + self.known(x_PK) + 1e-9 * surrogate.scale**2
        own_PP = surrogate.covariance(x_PK, x_PK) + np.diag(noise_P)
        root_PT = solve_triangular(
            np.linalg.cholesky(own_PP), surrogate.covariance(x_PK, self.x_TK), lower=True
        )
        self.cross_CT -= root_PT[:, : self.c].T @ root_PT
        self.variance_T = np.maximum(self.variance_T - (root_PT**2).sum(axis=0), self.least)

    def measure(self, index: int) -> None:
        """Condition on the measurement of a candidate: variances fall, means stay."""
        cross_T = self.cross_CT[index].copy()
        total = self.variance_T[index] + self.noise_C[index]
        self.cross_CT -= np.outer(cross_T[: self.c], cross_T) / total
        self.variance_T = np.maximum(self.variance_T - cross_T**2 / total, self.least)


class _Search:
    """One search for a batch of points. Shapes as in `_Belief`; P points of the pool."""

    def __init__(self, boundary: Boundary, pool: list[Point], rng: np.random.Generator) -> None:
        self.space = boundary.space
        surrogates = boundary.surrogates()
        pool_PK, level_P = self.space.encode(pool), boundary.levels(pool)
        doubt_P = np.full(len(pool), 1e-12)
        for surrogate, weight in zip(surrogates, (1 - ROUGH, ROUGH), strict=True):
            doubt_P += weight * _doubt(surrogate, pool_PK, level_P)
        share_P = 0.5 / len(pool) + 0.5 * doubt_P / doubt_P.sum()
        share_P /= share_P.sum()
        reference_R = rng.choice(len(pool), REFERENCES, replace=False, p=share_P)
        candidate_C = rng.choice(len(pool), CANDIDATES, replace=False, p=share_P)
        # Drawn where the doubt is, references stand for the less space each.
        self.weight_R = 1 / share_P[reference_R]
        x_NK, variance_N, points = boundary.active()
        again = self._measured(surrogates[0], x_NK, boundary.levels(points), points)
        self.candidates = [pool[i] for i in candidate_C] + again
        x_CK = np.concatenate([pool_PK[candidate_C], self.space.encode(again)])
        self.x_TK = np.concatenate([x_CK, pool_PK[reference_R]])
        level_T = np.concatenate(
            [level_P[candidate_C], boundary.levels(again), level_P[reference_R]]
        )
        known = _Nearby(x_NK, variance_N)
        self.beliefs = [
            _Belief(surrogate, level_T, self.x_TK, len(x_CK), known) for surrogate in surrogates
        ]
        pending_PK = self.space.encode(boundary.history.pending)
        self.taken_NK = np.concatenate([x_NK, pending_PK])
        if len(pending_PK):
            for belief in self.beliefs:
                belief.suppose(pending_PK[-SUPPOSED:])

    def _measured(
        self, surrogate: Surrogate, x_NK: Array, level_N: Array, points: Sequence[Point]
    ) -> list[Point]:
        """Return points that were measured before, those nearest to the level."""
        order = np.argsort(-_doubt(surrogate, x_NK, level_N), kind="stable")
        different = {self.space.key(points[i]): points[i] for i in order.tolist()}
        return list(different.values())[:REPLICATES]

    def best(self) -> Point:
        """Choose the candidate that is expected to leave the least doubt."""
        smooth, rough = (belief.gain(self.weight_R) for belief in self.beliefs)
        gain_C = (1 - ROUGH) * smooth + ROUGH * rough
        if gain_C.max() <= 1e-9 * self.weight_R.sum():
            return self.farthest()
        return self._take(int(np.argmax(gain_C)))

    def farthest(self) -> Point:
        """Choose the candidate that is farthest from everything measured or asked for."""
        c = len(self.candidates)
        distance = ((self.x_TK[:c, None] - self.taken_NK[None]) ** 2).sum(axis=2).min(axis=1)
        return self._take(int(np.argmax(distance)))

    def _take(self, index: int) -> Point:
        self.taken_NK = np.concatenate([self.taken_NK, self.x_TK[index : index + 1]])
        for belief in self.beliefs:
            belief.measure(index)
        return dict(self.candidates[index])


def _doubt(surrogate: Surrogate, x_NK: Array, level_N: Array) -> Array:
    prediction = surrogate.predict(x_NK)
    return doubt(np.abs(prediction.mean - level_N) / prediction.sd)


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
