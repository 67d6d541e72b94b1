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
5. Benjamini and Hochberg (1995) over the map. What is flagged counts only when fresh runs at the
   point agree (`confirm`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from custodes.errors import DataError
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
    keys = {space.key(point): None for point in history.points}
    number = {key: i for i, key in enumerate(keys)}
    groups = np.array([number[space.key(point)] for point in history.points], dtype=np.int64)
    first = [int(np.argmax(groups == group)) for group in range(len(number))]
    means = np.array([history.values[groups == group].mean() for group in range(len(number))])
    if len(number) < FEWEST:
        p_G = np.ones(len(number))
        expected, deviation = means, np.full(len(number), np.inf)
    else:
        x_NK = space.encode(history.points)
        found = _hold_against_others(space, x_NK, history.values, history.variances, groups)
        expected, deviation = found.expected, found.sd
        null = _null_scores(space, x_NK, history.variances, groups, found.surrogate, rate, seed)
        score = np.abs(means - expected) / deviation
        larger = len(null) - np.searchsorted(np.sort(null), score, side="left")
        p_G = (1 + larger) / (1 + len(null))
    q_G = adjusted(p_G)
    return [
        Surprise(
            history.points[first[group]],
            int((groups == group).sum()),
            float(means[group]),
            float(expected[group]),
            float(deviation[group]),
            float(p_G[group]),
            float(q_G[group]),
            bool(q_G[group] <= rate),
        )
        for group in range(len(number))
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
class _Held:
    expected: Array
    sd: Array
    surrogate: Surrogate


def _hold_against_others(
    space: Space,
    x_NK: Array,
    values: Array,
    variances: Array,
    groups: NDArray[np.int64],
    start: Array | None = None,
) -> _Held:
    """Predict each group from the others, leaving those out that nothing predicts."""
    means = np.bincount(groups, values) / np.bincount(groups)
    outlier = _unlike_neighbours(x_NK, means, groups)
    held: _Held | None = None
    for _ in range(ROUNDS):
        held = _without(space, x_NK, values, variances, groups, outlier, start)
        start = held.surrogate.theta
        score = np.abs(means - held.expected) / held.sd
        typical = max(1.0, float(np.median(score)) / 0.6745)
        bar = max(OUTLIER * typical, float(np.quantile(score, 1 - MOST_OUTLIERS)))
        again = score > bar
        if (again == outlier).all():
            break
        outlier = again
    assert held is not None
    return held


def _unlike_neighbours(x_NK: Array, means: Array, groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which groups differ most from the median of their neighbours: a first guess."""
    n = len(means)
    x_GK = np.array([x_NK[np.argmax(groups == group)] for group in range(n)])
    distance = ((x_GK[:, None] - x_GK[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1)[:, : min(6, n - 1)]
    off = np.abs(means - np.median(means[nearest], axis=1))
    bar = max(OUTLIER * float(np.median(off)) / 0.6745, float(np.quantile(off, 1 - MOST_OUTLIERS)))
    return np.asarray(off > bar)


def _without(
    space: Space,
    x_NK: Array,
    values: Array,
    variances: Array,
    groups: NDArray[np.int64],
    outlier: NDArray[np.bool_],
    start: Array | None,
) -> _Held:
    """Fit without the outliers, and predict every group from the others in the fit."""
    kept = ~outlier[groups]
    surrogate = fit_surrogate(space, x_NK[kept], values[kept], variances[kept], start=start)
    expected, sd = np.empty(len(outlier)), np.empty(len(outlier))
    inside, renumbered = np.unique(groups[kept], return_inverse=True)
    left_out = surrogate.left_out(renumbered)
    expected[inside], sd[inside] = left_out.mean, left_out.sd
    for group in np.flatnonzero(outlier):
        rows = np.flatnonzero(groups == group)
        predicted = surrogate.predict(x_NK[rows[:1]])
        known = np.nan_to_num(variances[rows], nan=0.0)
        noise = (surrogate.noise_sd**2 + known).sum() / len(rows) ** 2
        expected[group], sd[group] = predicted.mean[0], math.sqrt(predicted.sd[0] ** 2 + noise)
    return _Held(expected, sd, surrogate)


def _null_scores(
    space: Space,
    x_NK: Array,
    variances: Array,
    groups: NDArray[np.int64],
    surrogate: Surrogate,
    rate: float,
    seed: int,
) -> Array:
    """Return the scores of all points of null maps, which went through the same procedure."""
    rng = np.random.default_rng(seed)
    maps = math.ceil(BELOW / rate)
    whole = fit_surrogate(
        space, x_NK, np.zeros(len(x_NK)), None, start=surrogate.theta, optimise=False
    )
    scores = []
    known = np.nan_to_num(variances, nan=0.0)
    for drawn in whole.draw(maps, rng) / whole.scale * surrogate.scale:
        values = drawn + np.sqrt(known) * rng.standard_normal(len(drawn))
        held = _hold_against_others(space, x_NK, values, variances, groups, surrogate.theta)
        means = np.bincount(groups, values) / np.bincount(groups)
        scores.append(np.abs(means - held.expected) / held.sd)
    return np.concatenate(scores)
