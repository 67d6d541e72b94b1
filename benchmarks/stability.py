"""The stability score of stated values on simulated questionnaires, whose truth is known.

    python benchmarks/stability.py [--repeats 1000] [--json OUT]

A simulated model has a true stance towards each of 48 items of 8 behaviours; two wordings read it
with noise. The later generation keeps a part of the stances. The table has, by the share that is
kept and the reliability of one wording: the mean score, how often the 95% interval holds the truth,
and what a plain correlation of the averaged readings would say. "Three seeds" has the interval over
seeds and behaviours at once (`custodes.statistics.crossed_mean`). The truth is the coefficient of
identity of the noiseless stances in the whole population of behaviours.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custodes.drift.questionnaire.stability import stability
from custodes.statistics import crossed_mean

Floats = NDArray[np.float64]
BEHAVIOURS, ITEMS = 8, 6
NAMES = [f"b{k}" for k in range(BEHAVIOURS) for _ in range(ITEMS)]
SPREAD = 0.2
SHARED = 0.3
"""Share of the stances' variance that the items of a behaviour have in common."""


def stances(rng: np.random.Generator) -> Floats:
    """Draw true stances, those of a behaviour alike."""
    common = np.repeat(rng.normal(size=BEHAVIOURS), ITEMS)
    own = rng.normal(size=BEHAVIOURS * ITEMS)
    return np.asarray(SPREAD * (SHARED**0.5 * common + (1 - SHARED) ** 0.5 * own))


def read(truth: Floats, reliability: float, rng: np.random.Generator) -> Floats:
    """Read stances with two wordings; ``reliability`` is the correlation between these."""
    noise = SPREAD * (1 / reliability - 1) ** 0.5
    return np.asarray(truth[:, None] + noise * rng.normal(size=(len(truth), 2)))


def later(truth: Floats, kept: float, rng: np.random.Generator) -> Floats:
    """Keep a part of the stances, and replace the rest by unrelated ones of the same size."""
    return np.asarray(kept * truth + (1 - kept**2) ** 0.5 * stances(rng))


def one(kept: float, reliability: float, repeats: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    scores, covered, below, plain = [], [], [], []
    for k in range(repeats):
        truth = stances(rng)
        now = later(truth, kept, rng)
        first, last = read(truth, reliability, rng), read(now, reliability, rng)
        interval = stability(first, last, NAMES).interval(k)
        scores.append(interval.mean)
        covered.append(interval.low <= kept <= interval.high)
        below.append(interval.high < 1)
        plain.append(np.corrcoef(first.mean(axis=1), last.mean(axis=1))[0, 1])
    return {
        "kept": kept,
        "reliability": reliability,
        "mean": float(np.mean(scores)),
        "median": float(np.median(scores)),
        "covered": float(np.mean(covered)),
        "below 1": float(np.mean(below)),
        "plain correlation": float(np.mean(plain)),
    }


def arms(kept: float, reliability: float, repeats: int, seed: int) -> dict[str, Any]:
    """Pool three seeds of one first generation."""
    rng = np.random.default_rng(seed)
    means, covered = [], []
    for _ in range(repeats):
        truth = stances(rng)
        first = read(truth, reliability, rng)
        scores = [
            stability(first, read(later(truth, kept, rng), reliability, rng), NAMES)
            for _ in range(3)
        ]
        if min(score.below.sum() for score in scores) <= 0:
            continue  # noise is all there is; nothing is claimed
        values = [score.pseudo_values() for score in scores]
        interval = crossed_mean(values)
        means.append(interval.mean)
        covered.append(interval.low <= kept <= interval.high)
    return {
        "kept": kept,
        "reliability": reliability,
        "mean": float(np.mean(means)),
        "covered": float(np.mean(covered)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    grid = [(kept, held) for kept in (1.0, 0.8, 0.5, 0.0) for held in (0.9, 0.6, 0.4)]
    result = {
        "one lineage": [one(*point, args.repeats, k) for k, point in enumerate(grid)],
        "three seeds": [arms(*point, args.repeats, k) for k, point in enumerate(grid)],
    }
    for name, rows in result.items():
        print(name)
        for row in rows:
            print("  ", "  ".join(f"{key} {value:.3f}" for key, value in row.items()))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
