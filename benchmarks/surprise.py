"""Planted anomalies, smooth null maps and the p-values of both.

``python benchmarks/surprise.py [--maps 20] [--nulls 40]``

A map is a sum of three random waves over two or three axes, measured with noise at 64 points of a
Sobol sequence or an 8 x 8 grid. An anomaly is off by 12 times the noise. The uniformity of p-values
is tested on one point of each null map, since those of one map depend on each other.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kstest

from custodes.sweep.samplers import Grid
from custodes.sweep.samplers.sobol import sobol_units
from custodes.sweep.space import Point, Space
from custodes.sweep.surprise import Surprise, surprises

NOISE, SIZE, PLANTED = 0.05, 0.6, 5


def one(seed: int, planted: int, grid: bool, axes: int) -> tuple[list[Surprise], set[int]]:
    rng = np.random.default_rng(seed)
    space = {f"x{i}": (0.0, 1.0) for i in range(axes)}
    points: list[Point] = (
        Grid(space, levels=8 if axes == 2 else 4).ask(64)
        if grid
        else Space.parse(space).from_unit(sobol_units(axes, 64, seed))
    )
    x_NK: NDArray[np.float64] = Space.parse(space).encode(points)
    waves, phase = 3 * rng.normal(size=(3, axes)), rng.uniform(0, 6, 3)
    values = (rng.uniform(0.3, 1, 3) * np.sin(x_NK @ waves.T + phase)).sum(axis=1)
    values = values + NOISE * rng.standard_normal(64)
    bad = rng.choice(64, planted, replace=False)
    values[bad] += SIZE * rng.choice([-1, 1], planted)
    return surprises(space, points, values.tolist(), seed=seed), set(bad.tolist())


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=int, default=20)
    parser.add_argument("--nulls", type=int, default=40)
    options = parser.parse_args(arguments)
    for axes in (2, 3):
        for grid in (False, True):
            recall, false = [], []
            for seed in range(options.maps):
                rows, bad = one(seed, PLANTED, grid, axes)
                flagged = {i for i, row in enumerate(rows) if row.flagged}
                recall.append(len(flagged & bad) / len(bad))
                false.append(len(flagged - bad) / max(1, len(flagged)))
            kind = "grid" if grid else "sobol"
            print(
                f"{axes} axes, {kind}: recall {np.mean(recall):.3f}, "
                f"false discovery rate {np.mean(false):.3f} ({options.maps} maps)",
                flush=True,
            )
    flags, p = 0, []
    for seed in range(options.nulls):
        rows, _ = one(1000 + seed, 0, seed % 2 == 0, 2)
        flags += any(row.flagged for row in rows)
        p.append(rows[seed % 64].p)
    test = kstest(p, "uniform")
    print(
        f"null maps with any flag: {flags} of {options.nulls}; "
        f"Kolmogorov-Smirnov D {test.statistic:.3f}, p {test.pvalue:.2f}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
