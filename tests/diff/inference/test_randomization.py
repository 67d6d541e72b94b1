from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import sparse, stats

from custodes.diff.inference.randomization import (
    Relabelings,
    SignFlips,
    binomial_scores,
    rademacher_tail,
)


def _all_signs(n: int) -> np.ndarray:
    return np.array(list(itertools.product([-1.0, 1.0], repeat=n))).T


@pytest.mark.parametrize("d", [1, 5, 12, 40, 300, 601, 2000])
def test_binomial_scores_are_the_exact_two_sided_tail(d: int) -> None:
    sums = np.array([d % 2, d % 2 + 2 * (d // 12), d if d < 50 else d % 2 + 2 * (d // 16)])
    scores = binomial_scores(sums[None].astype(np.float32), np.array([d], np.int32))[0]
    exact = np.minimum(1, 2 * stats.binom.sf((d + sums) / 2 - 1, d, 0.5))
    assert scores == pytest.approx(-np.log10(exact), rel=0.01, abs=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_saddle_point_is_near_the_enumerated_tail(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.choice([0.25, 0.5, 0.75, 1.0], 14)
    sums = np.abs(weights @ _all_signs(14))
    for total in np.quantile(sums, [0.5, 0.9, 0.99, 0.999]):
        # On a lattice the continuous formula stands between P(> total) and P(>= total).
        above, at_least = (sums > total + 1e-9).mean(), (sums >= total - 1e-9).mean()
        assert 0.7 * above <= rademacher_tail(weights, float(total)) <= 1.3 * at_least


def test_sign_flips_give_the_exact_p_of_every_assignment() -> None:
    rng = np.random.default_rng(0)
    dense = rng.choice([-1, 0, 1], (10, 6)).astype(np.float32)
    flips = SignFlips(sparse.csc_matrix(dense))
    every = np.abs(dense.T @ _all_signs(10))
    seen = np.abs(dense.sum(axis=0))
    exact = (every >= seen[:, None]).mean(axis=1)
    assert flips.p_values(flips.observed, np.arange(6)) == pytest.approx(exact)


def test_left_out_prompts_do_not_count() -> None:
    dense = np.ones((10, 1), np.float32)
    flips = SignFlips(sparse.csc_matrix(dense))
    keep = np.arange(10) < 4
    score = flips.scores(flips.observed, np.array([0]), keep=keep)[0, 0]
    assert score == pytest.approx(-np.log10(2 / 2**4), abs=1e-4)


def test_relabelled_z_has_unit_spread_under_the_null() -> None:
    rng = np.random.default_rng(1)
    values = rng.random((60, 8)) < 0.3
    labels = (np.arange(60) % 3 == 0).astype(np.int8)
    masks = np.stack([np.ones(60, bool), np.arange(60) < 30], axis=1)
    members = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    inside = sparse.csc_matrix((values & masks[:, members]).astype(np.float32))
    design = Relabelings(inside, members, masks, labels)
    scores = design.scores(design.draw(4000, rng), np.arange(8))
    # P(score >= 1) is P(p <= .1); discreteness leaves some slack.
    assert (scores >= 1).mean(axis=1) == pytest.approx(np.full(8, 0.1), abs=0.05)
    p = design.p_values(design.observed, np.arange(4))
    for k in range(4):
        table = [[(values[labels == s, k] == v).sum() for v in (1, 0)] for s in (1, 0)]
        assert p[k] == pytest.approx(stats.fisher_exact(table).pvalue)
