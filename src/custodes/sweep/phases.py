"""Good, bad or undecided; expected or surprising; and which points hang together.

1. A run has *measures*: gold scores, over-refusal, cost, wrongful retrains. *Limits* say which
   values are acceptable.
2. The mean of a point's runs has an interval. Its variance is the larger of what is known of each
   run (its sampling error) and what is seen between replicates anywhere on the map (pooled: a
   point has few). Intervals are Student's t, with Bonferroni over the limits.
3. A point is *good* when every interval is on the right side of its limit, *bad* when one is on the
   wrong side, and *undecided* otherwise. A point whose runs all failed is *failed*.
4. *Surprising* comes from `custodes.sweep.surprise`, once fresh runs have borne it out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from custodes.errors import ConfigError
from custodes.sweep.local import nearest
from custodes.sweep.space import Space, SpaceLike

__all__ = ["Limit", "Measure", "Quality", "Region", "judge", "neighbours", "pooled_sd", "regions"]

Quality: TypeAlias = Literal["good", "bad", "undecided", "failed"]
Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Limit:
    """What is acceptable of one measure.

    Attributes:
        low: Acceptable from here on; None for no lower limit.
        high: Acceptable up to here; None for no upper limit.
    """

    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise ConfigError("a limit without low or high", "give one of them, or both")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ConfigError(f"a limit from {self.low} to {self.high}", "low is below high")

    def judge(self, low: float, high: float) -> Quality:
        """Judge an interval of a mean."""
        floor = -math.inf if self.low is None else self.low
        ceiling = math.inf if self.high is None else self.high
        if floor <= low and high <= ceiling:
            return "good"
        return "bad" if high < floor or low > ceiling else "undecided"


@dataclass(frozen=True)
class Measure:
    """One measure of one point, over its runs.

    Attributes:
        mean: Over runs.
        low: Lower end of the interval.
        high: Upper end.
        runs: How many.
        quality: How it stands to its limit.
    """

    mean: float
    low: float
    high: float
    runs: int
    quality: Quality


@dataclass(frozen=True)
class Pooled:
    """What is seen between replicates over a whole map.

    Attributes:
        sd: Between runs at one point.
        freedom: Degrees of freedom it rests on; 0 where no point has two runs.
    """

    sd: float
    freedom: int


def pooled_sd(groups: Sequence[Sequence[float]]) -> Pooled:
    """Pool the variance between replicates over all points.

    Args:
        groups: The values of each point's runs.
    """
    squares = sum(float(np.var(group)) * len(group) for group in groups if len(group) > 1)
    freedom = sum(len(group) - 1 for group in groups if len(group) > 1)
    return Pooled(math.sqrt(squares / freedom) if freedom else 0.0, freedom)


def judge(
    values: Sequence[float],
    limit: Limit,
    *,
    sd: Sequence[float | None] | None = None,
    pooled: Pooled | None = None,
    limits: int = 1,
    level: float = 0.95,
) -> Measure:
    """Judge one measure of one point.

    Args:
        values: One for each run; finite.
        limit: What is acceptable.
        sd: Standard error of each value, where it is known.
        pooled: What is seen between replicates over the map; by default these runs alone.
        limits: How many limits a point is judged by (Bonferroni).
        level: Coverage of the intervals together, in (0, 1).
    """
    from scipy.stats import t

    n = len(values)
    if n == 0:
        return Measure(math.nan, -math.inf, math.inf, 0, "failed")
    mean = float(np.mean(values))
    between = pooled_sd([values]) if pooled is None else pooled
    known = [s for s in sd or () if s is not None]
    within = float(np.mean(np.square(known))) if len(known) == n else math.nan
    if math.isnan(within) and not between.freedom:
        # One run of unknown error says nothing about the next.
        return Measure(mean, -math.inf, math.inf, n, "undecided")
    seen = between.sd**2 if between.freedom else 0.0
    within = 0.0 if math.isnan(within) else within
    freedom = between.freedom if seen >= within else math.inf
    variance = max(seen, within)
    tail = (1 - level) / (2 * limits)
    factor = float(t.isf(tail, freedom))
    half = factor * math.sqrt(variance / n)
    return Measure(mean, mean - half, mean + half, n, limit.judge(mean - half, mean + half))


def overall(measures: Sequence[Measure]) -> Quality:
    """Join the verdicts on a point's measures: one that is bad makes it bad."""
    found = {measure.quality for measure in measures}
    order: tuple[Quality, ...] = ("failed", "bad", "undecided", "good")
    return next((quality for quality in order if quality in found), "undecided")


def neighbours(
    space: SpaceLike, points: Sequence[Mapping[str, Any]], k: int = 6
) -> list[tuple[int, ...]]:
    """Return each point's neighbours: pairs of points near to each other.

    Two points are neighbours when each is among the k nearest of the other, or one is the other's
    nearest. Axes are 1 long; different categories are 1 apart.

    Returns:
        By point: the indices of its neighbours, the nearest first.
    """
    space = Space.parse(space)
    if len(points) < 2:
        return [() for _ in points]
    order = nearest(_placed(space, points), min(k, len(points) - 1))
    near = [set(row.tolist()) for row in order]
    joined: list[dict[int, None]] = [{} for _ in points]
    for rank in range(order.shape[1]):
        for i, j in enumerate(order[:, rank].tolist()):
            # The nearest of a point is its neighbour even where it has nearer ones itself.
            if i in near[j] or rank == 0:
                joined[i][j] = None
    for i, j in enumerate(order[:, 0].tolist()):
        joined[j][i] = None
    return [tuple(members) for members in joined]


@dataclass(frozen=True)
class Region:
    """Neighbouring points of one phase.

    Attributes:
        phase: Their label.
        members: Their indices.
    """

    phase: str
    members: tuple[int, ...]


def regions(
    space: SpaceLike, points: Sequence[Mapping[str, Any]], labels: Sequence[str], k: int = 6
) -> list[Region]:
    """Cut a map into regions: sets of neighbours with one label, the largest first."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not points:
        return []
    edges = [
        (i, j)
        for i, near in enumerate(neighbours(space, points, k))
        for j in near
        if labels[i] == labels[j]
    ]
    rows_E, columns_E = np.array(edges, np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(edges)), (rows_E, columns_E)), shape=(len(points), len(points)))
    _, component = connected_components(graph, directed=False)
    found = [
        Region(labels[int(np.argmax(component == c))], tuple(np.flatnonzero(component == c)))
        for c in np.unique(component)
    ]
    return sorted(found, key=lambda region: (-len(region.members), region.members[0]))


def _placed(space: Space, points: Sequence[Mapping[str, Any]]) -> Array:
    """Encode points so that two different categories are 1 apart."""
    wide = np.bincount(space.groups)[space.groups] > 1
    return np.asarray(space.encode(points) / np.where(wide, math.sqrt(2), 1.0))
