"""A regular grid: every combination of evenly spaced values."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice, product
from typing import Any

from custodes.errors import ConfigError
from custodes.sweep.samplers.base import History, count
from custodes.sweep.space import Point, SpaceLike

__all__ = ["Grid"]


class Grid:
    """Every combination of evenly spaced values, the first axis varying slowest.

    Asked for more than it has, it goes on with the points of a grid of twice the resolution; where
    there are no intervals to refine it starts again, and its points are replicates.

    Args:
        space: Where to sample (see `custodes.sweep.space`).
        levels: Values on each interval (>= 2), both ends included. Lists give all their values.
        seed: Not used: a grid draws nothing. It is there so that all samplers are made alike.

    Attributes:
        space: Where it samples.
        history: What it was told.
    """

    def __init__(self, space: SpaceLike, *, levels: int = 10, seed: int = 0) -> None:
        del seed
        if levels < 2:
            raise ConfigError(f"a grid of {levels} levels", "at least 2")
        self.history = History(space)
        self.space = self.history.space
        self.levels = levels
        self._points = self._enumerate()

    def __len__(self) -> int:
        """Points of the grid before it is refined."""
        total = 1
        for axis in self.space.axes:
            total *= len(axis.levels(self.levels))
        return total

    def ask(self, n: int = 1) -> list[Point]:
        """Return the next n points of the grid."""
        points = list(islice(self._points, count(n)))
        self.history.expect(points)
        return points

    def tell(
        self,
        points: Sequence[Mapping[str, Any]],
        values: Sequence[float],
        sd: float | Sequence[float] | None = None,
    ) -> None:
        """Take measured values; they change nothing about the grid."""
        self.history.tell(points, values, sd)

    def withdraw(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Expect points no longer."""
        self.history.withdraw(points)

    def skip(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Go on after points that another process was given."""
        for _ in islice(self._points, len(points)):
            pass
        self.history.expect(points)

    def _enumerate(self) -> Iterator[Point]:
        return chain.from_iterable(self._round(number) for number in itertools.count())

    def _round(self, number: int) -> Iterator[Point]:
        refinable = any(axis.kind == "float" for axis in self.space.axes)
        levels = (self.levels - 1) * 2 ** (number if refinable else 0) + 1
        for indices in product(*(range(len(axis.levels(levels))) for axis in self.space.axes)):
            old = number > 0 and all(
                axis.kind != "float" or index % 2 == 0
                for axis, index in zip(self.space.axes, indices, strict=True)
            )
            if not (old and refinable):
                yield {
                    axis.name: axis.levels(levels)[index]
                    for axis, index in zip(self.space.axes, indices, strict=True)
                }
