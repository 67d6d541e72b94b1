"""How often 95% intervals for a mean over few prompts cover it: five shapes, five sizes.

    python benchmarks/intervals.py [--draws 400]

A line a shape and size: the share of intervals that cover the mean, and milliseconds an interval.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from custodes.statistics import bootstrap_mean

RESAMPLES = 1000


def percentile(x: Any, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), size=RESAMPLES)
    low, high = np.quantile(counts @ x / len(x), [0.025, 0.975])
    return float(low), float(high)


def bca(x: Any, seed: int) -> tuple[float, float]:
    if np.ptp(x) == 0:
        return float(x[0]), float(x[0])
    found = bootstrap(
        (x,), np.mean, n_resamples=RESAMPLES, method="BCa", vectorized=True, random_state=seed
    ).confidence_interval
    return float(found.low), float(found.high)


def ours(x: Any, seed: int) -> tuple[float, float]:
    interval = bootstrap_mean(x, seed, resamples=RESAMPLES)
    return interval.low, interval.high


WAYS: dict[str, Callable[[Any, int], tuple[float, float]]] = {
    "percentile": percentile,
    "BCa": bca,
    "custodes": ours,
}


def shapes(rng: np.random.Generator) -> dict[str, tuple[Callable[[int], Any], float]]:
    return {
        "normal": (rng.standard_normal, 0.0),
        "heavy tails (t, 3 df)": (lambda n: rng.standard_t(3, n), 0.0),
        "skewed (lognormal)": (lambda n: rng.lognormal(0, 1, n), float(np.exp(0.5))),
        "two values (20% ones)": (lambda n: (rng.random(n) < 0.2) * 1.0, 0.2),
        "-1, 0, 1": (lambda n: rng.choice([-1.0, 0.0, 1.0], n, p=[0.1, 0.7, 0.2]), 0.1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=400)
    draws = parser.parse_args().draws
    print(f"{'shape':24}{'n':>4}" + "".join(f"{way:>22}" for way in WAYS))
    for name, (draw, mean) in shapes(np.random.default_rng(0)).items():
        for n in (8, 16, 32, 48, 96):
            samples = [draw(n) for _ in range(draws)]
            cells = []
            for way in WAYS.values():
                began = time.perf_counter()
                intervals = [way(x, seed) for seed, x in enumerate(samples)]
                spent = 1000 * (time.perf_counter() - began) / draws
                covered = np.mean([low <= mean <= high for low, high in intervals])
                cells.append(f"{covered:>13.1%} {spent:5.1f} ms")
            print(f"{name:24}{n:4}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
