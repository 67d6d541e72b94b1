"""How much of the space each sampler puts on the wrong side of a boundary.

``python benchmarks/boundary.py [--seeds 5] [--only thin noisy] [--methods boundary sobol]``

Every method gets a landscape's budget; the grid gets four times as much. A point's class is read
from the method's own map: the Gaussian process for the samplers (Sobol and grid points too: the
hardest rival), the nearest measured point and linear interpolation for the grid as it is commonly
read, and its own interpolation for `adaptive.LearnerND`, which takes intervals only. Straddle is
the same code with another criterion: 1.96 s - |m| (Bryan et al., NeurIPS 2005), and with a random
factor (arXiv 2408.03144).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custodes.sweep.samplers import Boundary, Grid, Sobol
from custodes.sweep.samplers import boundary as module
from custodes.sweep.samplers.sobol import sobol_units
from custodes.sweep.space import Point, Space
from landscapes import LANDSCAPES, Landscape

Array = NDArray[np.float64]
TESTED = 4000
METHODS = (
    "boundary",
    "straddle",
    "randomized",
    "sobol",
    "learnernd",
    "grid x4, process",
    "grid x4, nearest",
    "grid x4, linear",
)
BATCH = 4


class _Straddle(module._Search):
    """Takes the candidate with the largest factor * s - |m|."""

    factor: Callable[[], float] = staticmethod(lambda: 1.96)

    def best(self) -> Point:
        belief = self.beliefs[0]
        gain = self.factor() * np.sqrt(belief.variance_T[: belief.c]) - np.abs(
            belief.mean_T[: belief.c]
        )
        return self._take(int(np.argmax(gain)))

    def farthest(self) -> Point:
        return self.best()


class _Randomized(_Straddle):
    """The factor is the square root of a chi-squared variable with two degrees of freedom."""

    rng = np.random.default_rng(0)
    factor = staticmethod(lambda: float(np.sqrt(_Randomized.rng.chisquare(2))))


def tell(sampler: Any, land: Landscape, points: Sequence[Point], rng: np.random.Generator) -> None:
    sd = land.noise(points).tolist() if land.tells_sd else None
    sampler.tell(points, land.measure(points, rng).tolist(), sd)


def sequential(land: Landscape, seed: int, search: type[Any]) -> Boundary:
    rng = np.random.default_rng(seed + 1000)
    original, module._Search = module._Search, search  # type: ignore[misc]
    try:
        sampler = Boundary(land.space, level=land.level, seed=seed)
        while len(sampler.history.points) < land.budget:
            points = sampler.ask(min(BATCH, land.budget - len(sampler.history.points)))
            tell(sampler, land, points, rng)
    finally:
        module._Search = original  # type: ignore[misc]
    return sampler


def told(land: Landscape, points: Sequence[Point], seed: int) -> Boundary:
    sampler = Boundary(land.space, level=land.level, seed=seed)
    tell(sampler, land, points, np.random.default_rng(seed + 1000))
    return sampler


def grid(land: Landscape) -> list[Point]:
    """The largest grid of at most four budgets."""
    levels = 2
    while len(Grid(land.space, levels=levels + 1)) <= 4 * land.budget:
        levels += 1
    sampler = Grid(land.space, levels=levels)
    return sampler.ask(len(sampler))


def nearest(land: Landscape, points: Sequence[Point], values: Array, at: Sequence[Point]) -> Array:
    from scipy.spatial import cKDTree

    space = Space.parse(land.space)
    return values[cKDTree(space.encode(points)).query(space.encode(at))[1]]


def linear(land: Landscape, points: Sequence[Point], values: Array, at: Sequence[Point]) -> Array:
    """Interpolate linearly in the encoded space; nearest where that has no triangle."""
    from scipy.interpolate import RegularGridInterpolator

    space = Space.parse(land.space)
    floats = [i for i, axis in enumerate(space.axes) if axis.kind == "float"]
    if len(floats) < len(space.axes):
        # Along the intervals only, at the very values of the other axes.
        found = np.empty(len(at))
        rest = [axis.name for axis in space.axes if axis.kind != "float"]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for i, point in enumerate(at):
            groups.setdefault(tuple(point[name] for name in rest), []).append(i)
        for key, rows in groups.items():
            mine = [i for i, p in enumerate(points) if tuple(p[name] for name in rest) == key]
            sub = Landscape(
                "",
                {space.axes[i].name: land.space[space.axes[i].name] for i in floats},
                land.f,
                land.level,
                1,
            )
            names = list(sub.space)
            found[rows] = linear(
                sub,
                [{n: points[i][n] for n in names} for i in mine],
                values[mine],
                [{n: at[i][n] for n in names} for i in rows],
            )
        return found
    levels = len({point[space.names[0]] for point in points})
    grid: Any = [np.linspace(0, 1, levels) for _ in space.axes]
    table = values.reshape([levels] * len(space.axes))
    return np.asarray(RegularGridInterpolator(grid, table)(space.encode(at)))


def learner(land: Landscape, seed: int, at: Sequence[Point]) -> Array | None:
    """`adaptive.LearnerND` with its usual loss, and its own linear interpolation."""
    from adaptive import LearnerND
    from scipy.interpolate import LinearNDInterpolator

    space = Space.parse(land.space)
    if any(axis.kind != "float" or axis.log for axis in space.axes):
        return None
    rng = np.random.default_rng(seed + 1000)
    made = LearnerND(lambda x: x, bounds=[(axis.low, axis.high) for axis in space.axes])
    values: list[float] = []
    while len(values) < land.budget:
        places, _ = made.ask(1)
        point = dict(zip(space.names, map(float, places[0]), strict=True))
        value = float(land.measure([point], rng)[0])
        made.tell(places[0], value)
        values.append(value)
    known = np.array(list(made.data))
    found = LinearNDInterpolator(known, np.array(list(made.data.values())))(space.encode(at))
    return np.asarray(found)


def errors(
    land: Landscape, seed: int, points: Sequence[Point], at: Sequence[Point], above: Array
) -> dict[str, Callable[[], float]]:
    """By method: measures its share of wrong points."""
    measured = land.measure(points, np.random.default_rng(seed + 1000))

    def wrong(values: Array | None) -> float:
        if values is None:
            return float("nan")
        return float(np.mean((values > land.level) != above))

    def process(sampler: Boundary) -> float:
        return float(np.mean((sampler.probability_above(at) > 0.5) != above))

    return {
        "boundary": lambda: process(sequential(land, seed, module._Search)),
        "straddle": lambda: process(sequential(land, seed, _Straddle)),
        "randomized": lambda: process(sequential(land, seed, _Randomized)),
        "sobol": lambda: process(told(land, Sobol(land.space, seed=seed).ask(land.budget), seed)),
        "learnernd": lambda: wrong(learner(land, seed, at)),
        "grid x4, process": lambda: process(told(land, points, seed)),
        "grid x4, nearest": lambda: wrong(nearest(land, points, measured, at)),
        "grid x4, linear": lambda: wrong(linear(land, points, measured, at)),
    }


def row(land: Landscape, seeds: int, methods: Sequence[str]) -> dict[str, Any]:
    space = Space.parse(land.space)
    at = space.from_unit(sobol_units(len(space.axes), TESTED, 12345))
    above = land.truth(at) > land.level
    points = grid(land)

    found: dict[str, list[float]] = {}
    began = time.process_time()
    for seed in range(seeds):
        for name in methods:
            error = errors(land, seed, points, at, above.astype(float))[name]()
            if not np.isnan(error):
                found.setdefault(name, []).append(error)
    return {
        "landscape": land.name,
        "budget": land.budget,
        "grid": len(points),
        "above": float(above.mean()),
        "errors": found,
        "seconds": time.process_time() - began,
    }


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=METHODS)
    options = parser.parse_args(arguments)
    names = options.methods
    print("| landscape | budget | " + " | ".join(names) + " |")
    print("|---|---|" + "---|" * len(names))
    rows = []
    for land in LANDSCAPES:
        if options.only and land.name not in options.only:
            continue
        rows.append(row(land, options.seeds, names))
        errors = rows[-1]["errors"]
        cells = [f"{100 * np.median(errors[n]):.2f}" if n in errors else "-" for n in names]
        print(f"| {land.name} | {land.budget} | " + " | ".join(cells) + " |", flush=True)
        if options.out:
            options.out.write_text(json.dumps(rows))
    for name in (name for name in names if name != "boundary"):
        # Errors below a tenth of a percent are four test points: ties.
        if "boundary" not in names:
            break
        ratios = [
            (np.median(r["errors"]["boundary"]) + 1e-3) / (np.median(r["errors"][name]) + 1e-3)
            for r in rows
            if name in r["errors"]
        ]
        worse = sum(ratio > 1.05 for ratio in ratios)
        print(
            f"boundary / {name}: median {np.median(ratios):.2f}, "
            f"worse on {worse} of {len(ratios)} landscapes"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
