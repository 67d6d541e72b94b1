"""What all samplers have in common: they are asked for points and told values, and do no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from custodes.errors import ConfigError, DataError
from custodes.sweep.space import Point, Space, SpaceLike

__all__ = ["History", "Sampler", "count"]

Array: TypeAlias = NDArray[np.float64]


@runtime_checkable
class Sampler(Protocol):
    """Says where to measure next.

    Attributes:
        space: Where it samples.
    """

    space: Space

    def ask(self, n: int = 1) -> list[Point]:
        """Return n points to measure. The same point may come more than once: a replicate."""
        ...

    def tell(
        self,
        points: Sequence[Mapping[str, Any]],
        values: Sequence[float],
        sd: float | Sequence[float] | None = None,
    ) -> None:
        """Take measured values: of any points, in any order and number, asked for or not.

        Args:
            points: What was measured.
            values: One for each point; finite.
            sd: Standard error of each value (or of all), where it is known.
        """
        ...

    def withdraw(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Forget that points were asked for: nobody is going to measure them."""
        ...

    def skip(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Go on after points that another process was given; they are expected to be told."""
        ...


class History:
    """The points a sampler has asked for, and the values it was told.

    Attributes:
        space: Where the points are.
        points: Told points, in the order told.
        values: Their values; shape (n,).
        variances: Their known variances; NaN where nothing was said. Shape (n,).
    """

    def __init__(self, space: SpaceLike) -> None:
        self.space = Space.parse(space)
        self._rows: list[Array] = []
        self.points: list[Point] = []
        self.values: Array = np.empty(0)
        self.variances: Array = np.empty(0)
        self._pending: Counter[tuple[Any, ...]] = Counter()
        self._asked: dict[tuple[Any, ...], Point] = {}

    def tell(
        self,
        points: Sequence[Mapping[str, Any]],
        values: Sequence[float],
        sd: float | Sequence[float] | None = None,
    ) -> None:
        """Add measurements; see `Sampler.tell`. Nothing is added where one of them is refused.

        Raises:
            ConfigError: A point is not in the space.
            DataError: A value is not finite, an sd is negative, or the numbers do not match.
        """
        points = list(points)
        encoded = self.space.encode(points)
        value_N = _floats(values, len(points), "values")
        variance_N = np.full(len(points), np.nan)
        if sd is not None:
            sd_N = np.full(len(points), sd) if np.ndim(sd) == 0 else sd
            variance_N = _floats(sd_N, len(points), "sd") ** 2
            if (_floats(sd_N, len(points), "sd") < 0).any():
                raise DataError("a negative sd", "a standard error is at least 0")
        self._rows.append(encoded)
        self.points += [dict(point) for point in points]
        self.values = np.concatenate([self.values, value_N])
        self.variances = np.concatenate([self.variances, variance_N])
        self.withdraw(points)

    @property
    def encoded(self) -> Array:
        """The told points, encoded; shape (n, columns)."""
        if len(self._rows) != 1:
            self._rows = [np.concatenate(self._rows)] if self._rows else [self.space.encode([])]
        return self._rows[0]

    def expect(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Note that points were asked for and are not told yet."""
        for point in points:
            self._pending[self.space.key(point)] += 1
            self._asked[self.space.key(point)] = dict(point)

    def withdraw(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Expect points no longer; those that were not expected are passed over.

        Raises:
            ConfigError: A point is not in the space.
        """
        self.space.encode(points)
        for point in points:
            key = self.space.key(point)
            if self._pending[key] > 1:
                self._pending[key] -= 1
            else:
                self._pending.pop(key, None)
                self._asked.pop(key, None)

    @property
    def pending(self) -> list[Point]:
        """Points asked for and not told yet."""
        return [self._asked[key] for key, times in self._pending.items() for _ in range(times)]


def count(n: int) -> int:
    """Check how many points are asked for.

    Raises:
        ConfigError: It is not a whole number, or below 0.
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
        raise ConfigError(f"ask({n!r})", "ask for a whole number of points, 0 or more")
    return int(n)


def _floats(values: Any, n: int, what: str) -> Array:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} are no numbers: {values!r}", "tell finite numbers") from error
    if array.shape != (n,):
        raise DataError(f"{n} points but {what} of shape {array.shape}", "tell one for each point")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise DataError(
            f"{what}: {array[bad[0]]} for point {bad[0]}",
            "leave out a measurement that failed, and withdraw its point",
        )
    return array
