"""Which points of a map are not what the others say.

A *forecast* is a normal distribution for the outcome of a run. One that was registered before the
run is scored by its negative log predictive density (`negative_log_density`). Whether a point is
surprising is decided over the whole map, where each point is held against all the others:

1. A Gaussian process is fitted to the map without the points it predicts worst, until these stay
   the same. Without that, anomalies pass as noise and hide each other.
2. A point's score is ``|mean - predicted| / sd``, predicted from the other points only; replicates
   of a point are one point.
3. Null maps, in which nothing is surprising, are drawn from the fitted process at the same points
   and go through steps 1 and 2.
4. The conformal p-value of a point is the share of all null scores that are as large as its own
   (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005). The calibration
   scores have to come from null maps, and not from the map itself: ranked among n scores of its
   own, the smallest p-value is 1/n, and none is ever significant after correction for n points.
   That is why neither crepes nor MAPIE is used: they rank scores of measured data.
5. Maps of more than 128 points are predicted neighbourhood by neighbourhood
   (`custodes.sweep.local`), with hyperparameters from a sample of the points.
6. Benjamini and Hochberg (1995) over the map. What is flagged counts only when fresh runs at the
   point agree (`confirm`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from custodes.errors import DataError
from custodes.sweep.local import Neighbourhoods, nearest
from custodes.sweep.samplers.base import History
from custodes.sweep.space import Point, Space, SpaceLike
from custodes.sweep.surrogate import Surrogate, fit_surrogate

__all__ = [
    "Forecast",
    "Surprise",
    "adjusted",
    "confirm",
    "negative_log_density",
    "surprises",
]

Array: TypeAlias = NDArray[np.float64]

FEWEST = 8
"""Different points that a map needs before any can be surprising."""
BELOW = 2.0
"""The smallest p-value is this much smaller than what Benjamini and Hochberg ask of one point."""
ROUNDS = 5
"""Refits without outliers at most."""
OUTLIER = 3.0
"""Points that are further off than this many standard deviations are left out of the fit."""
MOST_OUTLIERS = 0.2
"""At most this share of the points is left out of the fit."""
DENSE = 128
"""Maps of more points are predicted neighbourhood by neighbourhood."""
SAMPLE = 256
"""So many of their points give the hyperparameters."""


@dataclass(frozen=True)
class Forecast:
    """What somebody expects of a run before it starts.

    Attributes:
        source: Who: ``surrogate``, ``simulator`` or ``llm``.
        mean: Expected outcome.
        sd: Standard deviation of the outcome around it, noise included; > 0.
    """

    source: str
    mean: float
    sd: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.sd) and self.sd > 0):
            raise DataError(f"forecast {self.mean} ± {self.sd}", "both finite, the sd above 0")


@dataclass(frozen=True)
class Surprise:
    """One point of a map against all the others.

    Attributes:
        point: Where.
        runs: Its replicates.
        value: Mean of its measurements.
        expected: What the other points say.
        sd: Standard deviation of ``value`` around ``expected``.
        p: Conformal p-value.
        q: The same after Benjamini and Hochberg.
        flagged: Whether ``q`` is at most the level asked for.
    """

    point: Point
    runs: int
    value: float
    expected: float
    sd: float
    p: float
    q: float
    flagged: bool

    @property
    def score(self) -> float:
        """How many standard deviations it is off."""
        return abs(self.value - self.expected) / self.sd


def negative_log_density(forecast: Forecast, outcome: float) -> float:
    """Score a registered forecast after the run: -log of its density at the outcome, in nats."""
    z = (outcome - forecast.mean) / forecast.sd
    return 0.5 * z * z + math.log(forecast.sd) + 0.5 * math.log(2 * math.pi)


def surprises(
    space: SpaceLike,
    points: Sequence[Mapping[str, Any]],
    values: Sequence[float],
    sd: float | Sequence[float] | None = None,
    *,
    rate: float = 0.05,
    seed: int = 0,
) -> list[Surprise]:
    """Find the points of a map that are not what the others say.

    Args:
        space: Of the map.
        points: Where was measured; replicates may be among them.
        values: What came out; finite.
        sd: Standard error of each value (or of all), where it is known.
        rate: False discovery rate aimed at, in (0, 1).
        seed: Draws the null maps.

    Returns:
        One row for each different point, in the order of their first measurement. With fewer than
        8 different points all have p = 1.

    Raises:
        ConfigError: A point is not in the space.
        DataError: A value is not finite, or the numbers do not match.
    """
    history = History(space)
    history.tell(points, values, sd)
    space = history.space
    keys: dict[tuple[Any, ...], int] = {}
    groups = np.array(
        [keys.setdefault(space.key(point), len(keys)) for point in history.points], dtype=np.int64
    )
    first = np.unique(groups, return_index=True)[1]
    runs = np.bincount(groups)
    means = np.bincount(groups, history.values) / np.maximum(runs, 1)
    if len(keys) < FEWEST:
        p_G = np.ones(len(keys))
        expected, deviation = means, np.full(len(keys), np.inf)
    else:
        data = _Data(space, history.encoded, history.values, history.variances, groups)
        held, null = (_large if len(keys) > DENSE else _small)(data, rate, seed)
        expected, deviation = held.expected, held.sd
        score = np.abs(means - expected) / deviation
        larger = len(null) - np.searchsorted(np.sort(null), score, side="left")
        p_G = (1 + larger) / (1 + len(null))
    q_G = adjusted(p_G)
    return [
        Surprise(
            history.points[first[group]],
            int(runs[group]),
            float(means[group]),
            float(expected[group]),
            float(deviation[group]),
            float(p_G[group]),
            float(q_G[group]),
            bool(q_G[group] <= rate),
        )
        for group in range(len(keys))
    ]


def confirm(surprise: Surprise, fresh: Sequence[float], alpha: float = 0.05) -> bool | None:
    """Say whether fresh runs at a flagged point bear it out.

    They do when their mean is off in the same direction, one-sided at level ``alpha``, under the
    forecast that the other points make.

    Args:
        surprise: What was flagged.
        fresh: Outcomes of runs with seeds of their own, which were not part of the map.
        alpha: Chance that a point which is as the others say is borne out.

    Returns:
        None where there is no fresh run.
    """
    from scipy.stats import norm

    if not len(fresh):
        return None
    off = float(np.mean(fresh)) - surprise.expected
    direction = math.copysign(1.0, surprise.value - surprise.expected)
    # The map's sd holds for the mean of as many runs as there were; more runs scatter less, but
    # how much of the sd is noise is not asked: this is on the safe side.
    return bool(norm.sf(direction * off / surprise.sd) <= alpha)


def adjusted(p: Array) -> Array:
    """Return q-values by Benjamini and Hochberg (JRSS B 57, 1995)."""
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(p) if len(p) else p, dtype=np.float64)


@dataclass(frozen=True)
class _Data:
    """A map: N runs at G points. ``variances`` are NaN where unknown."""

    space: Space
    encoded: Array
    values: Array
    variances: Array
    groups: NDArray[np.int64]

    @property
    def means(self) -> Array:
        """Mean of each point's runs; shape (G,)."""
        return np.asarray(np.bincount(self.groups, self.values) / np.bincount(self.groups))

    @property
    def first(self) -> NDArray[np.int64]:
        """The first run of each point; shape (G,)."""
        return np.unique(self.groups, return_index=True)[1]

    def noise(self, sd: float) -> Array:
        """Variance of each point's mean, with ``sd`` beyond what is known of a run; shape (G,)."""
        each = sd**2 + np.nan_to_num(self.variances, nan=0.0)
        return np.asarray(np.bincount(self.groups, each) / np.bincount(self.groups) ** 2)

    def at(self, points: NDArray[np.int64]) -> _Data:
        """Return the map of some of its points."""
        kept = np.isin(self.groups, points)
        renumbered = np.unique(self.groups[kept], return_inverse=True)[1]
        return _Data(
            self.space, self.encoded[kept], self.values[kept], self.variances[kept], renumbered
        )


@dataclass(frozen=True)
class _Held:
    expected: Array
    sd: Array


def _settled(
    means: Array, first: NDArray[np.bool_], predict: Callable[[NDArray[np.bool_]], _Held]
) -> _Held:
    """Leave out what nothing predicts, and predict again, until that stays the same.

    Args:
        means: Of the points; shape (G,).
        first: A first guess of what to leave out; shape (G,).
        predict: Predicts every point from the others without those left out.
    """
    outlier = first
    for _ in range(ROUNDS):
        held = predict(outlier)
        score = np.abs(means - held.expected) / held.sd
        typical = max(1.0, float(np.median(score)) / 0.6745)
        bar = max(OUTLIER * typical, float(np.quantile(score, 1 - MOST_OUTLIERS)))
        again = score > bar
        if (again == outlier).all():
            break
        outlier = again
    return held


def _unlike_neighbours(means: Array, near: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which points differ most from the median of their neighbours: a first guess."""
    off = np.abs(means - np.median(means[near], axis=1))
    bar = max(OUTLIER * float(np.median(off)) / 0.6745, float(np.quantile(off, 1 - MOST_OUTLIERS)))
    return np.asarray(off > bar)


# Small maps: one process, fitted anew to every null map


class _Fit:
    """Predicts the points of a map from the others; each fit starts from the one before."""

    def __init__(self, data: _Data, start: Array | None = None) -> None:
        self.data, self.theta = data, start
        self.surrogate: Surrogate | None = None
        x_GK = data.encoded[data.first]
        self.near = nearest(x_GK, min(6, len(x_GK) - 1))

    def settled(self, values: Array | None = None) -> _Held:
        """Hold the map, or other values of it, against itself."""
        self.values = self.data.values if values is None else values
        data = replace(self.data, values=self.values)
        return _settled(data.means, _unlike_neighbours(data.means, self.near), self.without)

    def without(self, outlier: NDArray[np.bool_]) -> _Held:
        """Fit without the outliers, and predict every point from the others in the fit."""
        data = self.data
        kept = ~outlier[data.groups]
        x_NK, values, variances = data.encoded[kept], self.values[kept], data.variances[kept]
        surrogate = fit_surrogate(data.space, x_NK, values, variances, start=self.theta)
        self.surrogate, self.theta = surrogate, surrogate.theta
        expected, sd = np.empty(len(outlier)), np.empty(len(outlier))
        inside, renumbered = np.unique(data.groups[kept], return_inverse=True)
        left_out = surrogate.left_out(renumbered)
        expected[inside], sd[inside] = left_out.mean, left_out.sd
        outside = np.flatnonzero(outlier)
        predicted = surrogate.predict(data.encoded[data.first[outside]])
        noise = data.noise(surrogate.noise_sd)[outside]
        expected[outside], sd[outside] = predicted.mean, np.sqrt(predicted.sd**2 + noise)
        return _Held(expected, sd)


def _small(data: _Data, rate: float, seed: int) -> tuple[_Held, Array]:
    """Return what the points' others say, and the scores of all points of null maps."""
    fit = _Fit(data)
    held = fit.settled()
    assert fit.surrogate is not None
    surrogate, rng = fit.surrogate, np.random.default_rng(seed)
    whole = fit_surrogate(
        data.space,
        data.encoded,
        np.zeros(len(data.encoded)),
        None,
        start=surrogate.theta,
        optimise=False,
    )
    scores = []
    known = np.nan_to_num(data.variances, nan=0.0)
    for drawn in whole.draw(_maps(rate), rng) / whole.scale * surrogate.scale:
        values = drawn + np.sqrt(known) * rng.standard_normal(len(drawn))
        fit.theta = surrogate.theta
        null = fit.settled(values)
        scores.append(np.abs(replace(data, values=values).means - null.expected) / null.sd)
    return held, np.concatenate(scores)


# Large maps: a process for each neighbourhood, with the same hyperparameters for null maps


def _large(data: _Data, rate: float, seed: int) -> tuple[_Held, Array]:
    """Return the same of a large map."""
    rng = np.random.default_rng(seed)
    g = len(data.first)
    chosen = np.arange(g) if g <= SAMPLE else np.sort(rng.choice(g, SAMPLE, replace=False))
    fit = _Fit(data.at(chosen))
    fit.settled()
    assert fit.surrogate is not None
    noise = data.noise(fit.surrogate.noise_sd)
    local = Neighbourhoods(data.space, data.encoded[data.first], fit.surrogate, noise)

    def settled(means: Array) -> _Held:
        guess = _unlike_neighbours(means, local.near_Gk[:, :6])
        return _settled(means, guess, lambda outlier: _Held(*local.predict(means, outlier)))

    scores = []
    for drawn in local.draw(_maps(rate), rng):
        null = settled(drawn)
        scores.append(np.abs(drawn - null.expected) / null.sd)
    return settled(data.means), np.concatenate(scores)


def _maps(rate: float) -> int:
    """How many null maps are drawn."""
    return math.ceil(BELOW / rate)
