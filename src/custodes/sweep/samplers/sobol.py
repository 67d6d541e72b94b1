"""A scrambled Sobol sequence: points that fill the space evenly, however many are taken."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custodes.sweep.samplers.base import History, count
from custodes.sweep.space import Point, SpaceLike

__all__ = ["Sobol", "sobol_units"]


class Sobol:
    """A scrambled Sobol sequence (Owen's scrambling, as in `scipy.stats.qmc`).

    Args:
        space: Where to sample (see `custodes.sweep.space`).
        seed: Scrambles the sequence.

    Attributes:
        space: Where it samples.
        history: What it was told.
    """

    def __init__(self, space: SpaceLike, *, seed: int = 0) -> None:
        from scipy.stats import qmc

        self.history = History(space)
        self.space = self.history.space
        self._sequence = qmc.Sobol(len(self.space.axes), rng=np.random.default_rng(seed))

    def ask(self, n: int = 1) -> list[Point]:
        """Return the next n points of the sequence."""
        points = self.space.from_unit(_draw(self._sequence, count(n)))
        self.history.expect(points)
        return points

    def tell(
        self,
        points: Sequence[Mapping[str, Any]],
        values: Sequence[float],
        sd: float | Sequence[float] | None = None,
    ) -> None:
        """Take measured values; they change nothing about the sequence."""
        self.history.tell(points, values, sd)

    def withdraw(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Expect points no longer."""
        self.history.withdraw(points)

    def skip(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Go on after points that another process was given."""
        _draw(self._sequence, len(points))
        self.history.expect(points)


def sobol_units(axes: int, n: int, seed: int) -> NDArray[np.float64]:
    """Return the first n points of a scrambled sequence; shape (n, axes), in [0, 1)."""
    from scipy.stats import qmc

    return _draw(qmc.Sobol(axes, rng=np.random.default_rng(seed)), n)


def _draw(sequence: Any, n: int) -> NDArray[np.float64]:
    if n == 0:
        return np.empty((0, sequence.d))
    with warnings.catch_warnings():
        # scipy would rather have powers of two; the user decides how many runs there are.
        warnings.simplefilter("ignore", UserWarning)
        return np.asarray(sequence.random(n), dtype=np.float64)
