"""The global test: the smallest p of its components, and its own null distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from custodes.diff.inference.global_test import combine, mmd

DRAWS = 499


def test_the_smallest_component_p_is_corrected_for_their_number() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4, DRAWS))
    observed = np.quantile(draws[0], 0.99)
    parts = {f"c{k}": (observed if k == 0 else 0.0, draws[k]) for k in range(4)}
    result = combine(parts)
    assert result.components["c0"] == pytest.approx(0.01, abs=0.004)
    assert result.statistic == min(result.components.values())
    # About 1 − (1 − .01)⁴.
    assert 0.02 < result.p < 0.07


def test_p_is_uniform_where_nothing_differs_also_with_dependent_components() -> None:
    rng = np.random.default_rng(1)
    p = []
    for _ in range(200):
        shared = rng.normal(size=DRAWS + 1)
        draws = [shared + 0.3 * rng.normal(size=DRAWS + 1) for _ in range(5)]
        p.append(combine({str(k): (float(x[0]), x[1:]) for k, x in enumerate(draws)}).p)
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_an_extreme_statistic_has_the_smallest_possible_p() -> None:
    draws = np.random.default_rng(2).normal(size=DRAWS)
    assert combine({"one": (99.0, draws)}).p == pytest.approx(1 / (DRAWS + 1))


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_mmd_tells_two_distributions_apart(shift: float) -> None:
    rng = np.random.default_rng(3)
    n = 60
    embedded = rng.normal(size=(2 * n, 8)).astype(np.float32)
    embedded[n:] += shift / np.sqrt(8)
    averaging = tuple(
        sparse.csr_matrix(
            (np.ones(n, np.float32), (np.arange(n), np.arange(n) + side * n)), shape=(n, 2 * n)
        )
        for side in (0, 1)
    )
    observed = np.ones((n, 1), np.float32)
    flips = (2 * rng.integers(0, 2, (n, DRAWS)) - 1).astype(np.float32)
    values = mmd(embedded, averaging, True, (observed, flips), seed=0)  # type: ignore[arg-type]
    assert len(values) == DRAWS + 1
    p = (values >= values[0]).mean()
    assert (p < 0.01) == bool(shift)
