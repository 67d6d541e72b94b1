"""Synthetic landscapes with a known boundary, for `boundary.py` and `surprise.py`.

Each is a function of points (dicts) and has a level, a space, a noise and a budget: how many
measurements a sampler gets. The true class of a point is whether the function without noise is
above the level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
UNIT = (0.0, 1.0)


@dataclass(frozen=True)
class Landscape:
    name: str
    space: dict[str, Any]
    f: Callable[..., Array]
    level: float
    budget: int
    sd: Callable[..., Array] | float = 0.0
    tells_sd: bool = False

    def truth(self, points: Sequence[dict[str, Any]]) -> Array:
        return np.broadcast_to(self.f(**self._columns(points)), len(points)).astype(float)

    def noise(self, points: Sequence[dict[str, Any]]) -> Array:
        sd = self.sd(**self._columns(points)) if callable(self.sd) else self.sd
        return np.broadcast_to(sd, len(points)).astype(float)

    def measure(self, points: Sequence[dict[str, Any]], rng: np.random.Generator) -> Array:
        return self.truth(points) + self.noise(points) * rng.standard_normal(len(points))

    def _columns(self, points: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {name: np.array([point[name] for point in points]) for name in self.space}


def _bump(x: Array, y: Array, at: tuple[float, float], width: float) -> Array:
    return np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * width**2))


def _logistic(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def branin(x: Array, y: Array) -> Array:
    u, v = 15 * x - 5, 15 * y
    return -(
        (v - 5.1 / (4 * np.pi**2) * u**2 + 5 / np.pi * u - 6) ** 2
        + 10 * (1 - 1 / (8 * np.pi)) * np.cos(u)
        + 10
    )


KINDS = {"a": 0.0, "b": 0.15, "c": -0.25}

LANDSCAPES = (
    Landscape(
        "curved", {"x": UNIT, "y": UNIT}, lambda x, y: y - 0.5 - 0.3 * np.sin(6 * x), 0.0, 40
    ),
    Landscape(
        "disconnected",
        {"x": UNIT, "y": UNIT},
        lambda x, y: (
            _bump(x, y, (0.2, 0.25), 0.12)
            + _bump(x, y, (0.75, 0.7), 0.15)
            + _bump(x, y, (0.2, 0.8), 0.08)
        ),
        0.5,
        60,
    ),
    Landscape(
        "thin",
        {"x": UNIT, "y": UNIT},
        lambda x, y: np.exp(-(((y - 0.3 - 0.5 * x**2) / 0.06) ** 2)),
        0.5,
        80,
    ),
    Landscape(
        "noisy",
        {"x": UNIT, "y": UNIT},
        lambda x, y: np.sin(4 * x) + np.cos(5 * y) * x,
        0.4,
        100,
        sd=0.3,
    ),
    Landscape(
        "uneven noise",
        {"x": UNIT, "y": UNIT},
        lambda x, y: 2 * (x - 0.5) + np.sin(5 * y) / 2,
        0.0,
        100,
        sd=lambda x, y: 0 * x + 0.05 + 0.6 * y,
    ),
    Landscape(
        "known noise",
        {"x": UNIT, "y": UNIT},
        lambda x, y: 2 * (x - 0.5) + np.sin(5 * y) / 2,
        0.0,
        100,
        sd=lambda x, y: 0 * x + 0.05 + 0.6 * y,
        tells_sd=True,
    ),
    Landscape(
        "step",
        {"x": UNIT, "y": UNIT},
        lambda x, y: np.where((x - 0.3) ** 2 + (y - 0.4) ** 2 < 0.09, 1.0, 0.0),
        0.5,
        80,
    ),
    Landscape(
        "steep, noisy",
        {"x": UNIT, "y": UNIT},
        lambda x, y: _logistic(25 * (x + 0.4 * np.cos(4 * y) - 0.6)),
        0.5,
        80,
        sd=0.1,
    ),
    Landscape("branin", {"x": UNIT, "y": UNIT}, branin, -20.0, 50),
    Landscape("island", {"x": UNIT, "y": UNIT}, lambda x, y: _bump(x, y, (0.7, 0.3), 0.1), 0.6, 60),
    Landscape(
        "shell, 3 axes",
        {"x": UNIT, "y": UNIT, "z": UNIT},
        lambda x, y, z: -np.abs(np.sqrt((x - 0.5) ** 2 + (y - 0.5) ** 2 + z**2) - 0.45),
        -0.12,
        120,
    ),
    Landscape(
        "4 axes",
        dict.fromkeys("wxyz", UNIT),
        lambda w, x, y, z: np.sin(3 * w) * x + (y - 0.5) ** 2 * 2 + 0.3 * z,
        0.75,
        120,
    ),
    Landscape(
        "4 axes, noisy",
        dict.fromkeys("wxyz", UNIT),
        lambda w, x, y, z: np.sin(4 * w) + 2 * (x - 0.5) * (y - 0.5) + 0.5 * z,
        0.8,
        150,
        sd=0.2,
    ),
    Landscape(
        "mixed, 3 axes",
        {"x": UNIT, "n": [1, 2, 4, 8, 16], "kind": ["a", "b", "c"]},
        lambda x, n, kind: (
            x + 0.15 * np.log2(n) - 0.55 + np.vectorize(KINDS.get)(kind) * np.sqrt(n)
        ),
        0.0,
        50,
        sd=0.05,
    ),
    Landscape(
        "mixed, 4 axes",
        {"x": UNIT, "y": (1e-4, 1e-1, "log"), "n": [1, 2, 3, 4, 5, 6], "flag": [True, False]},
        lambda x, y, n, flag: (
            np.sin(4 * x) + (np.log10(y) + 2.5) / 2 * np.where(flag, 1.0, -0.6) + 0.1 * n
        ),
        0.7,
        100,
        sd=0.1,
    ),
)
