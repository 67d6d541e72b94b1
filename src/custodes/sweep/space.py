"""The space of a sweep: named axes, and points in it as plain dicts.

An axis is written as what a reader would write:

- ``(0.0, 1.0)``: every number between two bounds, the bounds included;
- ``(1e-5, 1e-2, "log")``: the same, evenly spaced on a logarithmic scale (bounds above 0);
- ``[1, 2, 4]``: these numbers only. They are ordered: 1 is nearer to 2 than to 4;
- ``["a", "b"]`` or ``[True, False]``: categories, all equally far from each other.

Inside, a point is a row of numbers in [0, 1]: one column for an axis of numbers or of two
categories, one for each category where there are more. Numbers in a list are evenly spaced there,
whatever their values.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from custodes.errors import ConfigError, near_misses

__all__ = ["Axis", "Point", "Space", "SpaceLike"]

Point: TypeAlias = dict[str, Any]
Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        name: The key of its values in a point.
        kind: ``float`` (an interval), ``ordinal`` (a list of numbers) or ``categorical``.
        low: Lower bound of an interval.
        high: Upper bound.
        log: Whether the interval is spaced logarithmically.
        values: What a list holds; numbers are sorted. Empty for an interval.
    """

    name: str
    kind: Literal["float", "ordinal", "categorical"]
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    values: tuple[Any, ...] = ()

    @classmethod
    def parse(cls, name: str, given: Any) -> Axis:
        """Read what a user wrote.

        Raises:
            ConfigError: It is no axis; the message says why.
        """
        if isinstance(given, tuple):
            return cls._interval(name, given)
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise ConfigError(
                f"axis {name}: {given!r} is neither (low, high) nor a list of values",
                'e.g. (0.0, 1.0) or [1, 2, 4] or ["a", "b"]',
            )
        return cls._listed(name, list(given))

    @classmethod
    def _interval(cls, name: str, given: tuple[Any, ...]) -> Axis:
        scale = given[2] if len(given) == 3 else "linear"
        if len(given) not in (2, 3) or scale not in ("linear", "log"):
            raise ConfigError(f"axis {name}: {given!r}", 'write (low, high) or (low, high, "log")')
        if not all(_is_number(bound) and math.isfinite(bound) for bound in given[:2]):
            raise ConfigError(f"axis {name}: bounds {given[:2]!r}", "both must be finite numbers")
        low, high = float(given[0]), float(given[1])
        if low >= high:
            remedy = f"write ({high:g}, {low:g})" if low > high else "they must differ"
            raise ConfigError(f"axis {name}: low {low:g} is not below high {high:g}", remedy)
        if scale == "log" and low <= 0:
            raise ConfigError(f"axis {name}: a log axis from {low:g}", "start above 0")
        return cls(name, "float", low, high, log=scale == "log")

    @classmethod
    def _listed(cls, name: str, given: list[Any]) -> Axis:
        if not given:
            raise ConfigError(f"axis {name} has no values", "list at least one")
        if any(not isinstance(value, Hashable) for value in given):
            raise ConfigError(f"axis {name}: {given!r}", "list numbers, strings or booleans")
        if len({(type(value) is bool, value) for value in given}) < len(given):
            raise ConfigError(f"axis {name} lists a value twice: {given!r}", "list it once")
        if all(_is_number(value) for value in given):
            if not all(math.isfinite(value) for value in given):
                raise ConfigError(f"axis {name}: {given!r}", "numbers must be finite")
            return cls(name, "ordinal", values=tuple(sorted(given)))
        return cls(name, "categorical", values=tuple(given))

    @property
    def width(self) -> int:
        """Columns it has in an encoded point."""
        return len(self.values) if self.kind == "categorical" and len(self.values) > 2 else 1

    @property
    def size(self) -> float:
        """How many values it has; infinity for an interval."""
        return math.inf if self.kind == "float" else len(self.values)

    def encode(self, value: Any) -> tuple[float, ...]:
        """Return a value's columns, each in [0, 1].

        Raises:
            ConfigError: The value is not on the axis.
        """
        if self.kind == "float":
            if not _is_number(value) or not self.low <= value <= self.high:
                raise ConfigError(
                    f"{self.name}={value!r} is not on its axis",
                    f"it goes from {self.low:g} to {self.high:g}",
                )
            return (self._to_unit(float(value)),)
        index = next((i for i, known in enumerate(self.values) if _same(known, value)), None)
        if index is None:
            raise ConfigError(
                f"{self.name}={value!r} is not on its axis",
                near_misses(str(value), map(str, self.values)),
            )
        if self.width > 1:
            return tuple(float(i == index) for i in range(self.width))
        return (index / max(1, len(self.values) - 1),)

    def decode(self, unit: float) -> Any:
        """Return the value at a share of the axis, in [0, 1]: lists are cut into equal parts."""
        if self.kind != "float":
            return self.values[min(int(unit * len(self.values)), len(self.values) - 1)]
        if self.log:
            value = self.low * (self.high / self.low) ** unit
        else:
            value = self.low + (self.high - self.low) * unit
        return min(max(value, self.low), self.high)

    def levels(self, n: int) -> list[Any]:
        """Return n evenly spaced values of an interval, ends included; all values of a list."""
        if self.kind != "float":
            return list(self.values)
        return [self.decode(0.5 if n == 1 else i / (n - 1)) for i in range(n)]

    def _to_unit(self, value: float) -> float:
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Space:
    """Axes by name.

    Attributes:
        axes: In the order given.
    """

    axes: tuple[Axis, ...]

    @classmethod
    def parse(cls, given: SpaceLike) -> Space:
        """Read a mapping of axis names to bounds or values (see the module's docstring).

        Raises:
            ConfigError: There are no axes, or one of them is not one.
        """
        if isinstance(given, Space):
            return given
        if not isinstance(given, Mapping) or not given:
            raise ConfigError("a space without axes", 'e.g. {"x": (0.0, 1.0)}')
        return cls(tuple(Axis.parse(str(name), axis) for name, axis in given.items()))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the axes."""
        return tuple(axis.name for axis in self.axes)

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """The axis that each column of an encoded point belongs to; shape (columns,)."""
        return np.repeat(np.arange(len(self.axes)), [axis.width for axis in self.axes])

    @property
    def size(self) -> float:
        """How many different points there are; infinity with an interval among the axes."""
        return math.prod(axis.size for axis in self.axes)

    def encode(self, points: Sequence[Mapping[str, Any]]) -> Array:
        """Encode points.

        Returns:
            Shape (n points, columns), in [0, 1].

        Raises:
            ConfigError: A point lacks an axis, has one too many, or lies outside.
        """
        rows = [self._encode(point) for point in points]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.groups))

    def _encode(self, point: Mapping[str, Any]) -> list[float]:
        if not isinstance(point, Mapping):
            raise ConfigError(f"{point!r} is no point", "a point is a dict of axis values")
        for name in point:
            if name not in self.names:
                raise ConfigError(f"no axis {name!r}", near_misses(str(name), self.names))
        for name in self.names:
            if name not in point:
                raise ConfigError(f"a point without {name!r}: {dict(point)!r}", "give every axis")
        return [column for axis in self.axes for column in axis.encode(point[axis.name])]

    def from_unit(self, units: ArrayLike) -> list[Point]:
        """Turn shares of the axes, shape (n, axes) in [0, 1], into points."""
        return [
            {axis.name: axis.decode(unit) for axis, unit in zip(self.axes, row, strict=True)}
            for row in np.asarray(units, dtype=np.float64).tolist()
        ]

    def key(self, point: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return what two points have in common when they are the same point."""
        return tuple((type(point[name]) is bool, point[name]) for name in self.names)


SpaceLike: TypeAlias = Space | Mapping[str, Any]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _same(known: Any, value: Any) -> bool:
    """Whether two values are the same; True is not 1."""
    booleans = (bool, np.bool_)
    return isinstance(known, booleans) == isinstance(value, booleans) and bool(known == value)
