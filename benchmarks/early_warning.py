"""How often early-warning signs are seen in stationary noise, and in series that slow down.

``python benchmarks/early_warning.py [--series 400]``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from custodes.sweep.dynamics import early_warning

Array = NDArray[np.float64]


def autoregressive(rng: np.random.Generator, phi: Array) -> Array:
    x = np.zeros(len(phi))
    for i in range(1, len(phi)):
        x[i] = phi[i] * x[i - 1] + rng.standard_normal()
    return x


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=400)
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(0)
    for steps in (60, 120, 240):
        for phi in (0.0, 0.5, 0.8, 0.95):
            found = [
                early_warning(autoregressive(rng, np.full(steps + 100, phi))[100:])
                for _ in range(options.series)
            ]
            alarm = np.mean([row.p <= 0.05 for row in found])
            bare = np.mean([max(row.variance, row.autocorrelation) > 0.5 for row in found])
            print(f"{steps} steps, φ {phi}: {alarm:.3f}; a τ above 0.5 in {bare:.2f}", flush=True)
    rising = [
        early_warning(autoregressive(rng, np.linspace(0.1, 0.95, 200)))
        for _ in range(options.series)
    ]
    print(f"rising φ, 200 steps: seen in {np.mean([row.p <= 0.05 for row in rising]):.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
