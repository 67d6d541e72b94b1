"""Error rates over all that is everything at: what would show if they were not kept."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from custodes.diff.compare import compare
from custodes.diff.inference.hypotheses import SHARES, Hypotheses, build
from custodes.diff.inference.null import Null, null_distribution
from custodes.diff.inference.randomization import SignFlips
from custodes.diff.inference.selection import select
from custodes.diff.responses import align
from support.texts import made_up

FDR = 0.1
NULLS = 200


@pytest.fixture(scope="module")
def everything() -> tuple[Hypotheses, Null, np.ndarray]:
    """Everything everything at in one made-up diff, its null, and labels to try it on."""
    hypotheses = build(align(made_up(120, 1, "A"), made_up(120, 2, "B")), seed=0)
    rng = np.random.default_rng(0)
    null = null_distribution(
        hypotheses.design,
        hypotheses.family,
        tuple(SHARES.values()),
        hypotheses.design.draw(999, rng),
    )
    return hypotheses, null, hypotheses.design.draw(NULLS, rng)


def _signs(prompts: int, hypotheses: int, copies: int = 1) -> SignFlips:
    """Make a test of independent behaviours, each there ``copies`` times."""
    rng = np.random.default_rng(5)
    values = rng.choice([-1, 0, 1], (prompts, hypotheses), p=[0.2, 0.6, 0.2]).astype(np.float32)
    return SignFlips(sparse.csc_matrix(np.repeat(values, copies, axis=1)))


def test_the_threshold_is_exceeded_as_often_as_its_level_says() -> None:
    design = _signs(60, 80)
    rng = np.random.default_rng(6)
    family = np.zeros(80, np.intp)
    null = null_distribution(design, family, (1.0,), design.draw(1999, rng))
    scores = design.scores(design.draw(2000, rng), np.arange(80))
    for level in (0.05, 0.2):
        exceeding = (scores.max(axis=0) >= null.threshold(0, level)).mean()
        # The caution of 1.6 makes it rarer, and discreteness rarer still.
        assert level / 5 < exceeding <= level


def test_copies_of_a_behaviour_cost_nothing() -> None:
    thresholds = []
    for copies in (1, 20):
        design = _signs(60, 10, copies)
        family = np.zeros(10 * copies, np.intp)
        draws = design.draw(999, np.random.default_rng(7))
        thresholds.append(null_distribution(design, family, (1.0,), draws).threshold(0, 0.1))
    assert thresholds[1] == pytest.approx(thresholds[0], abs=0.05)


def test_a_familys_share_of_the_budget_sets_its_threshold() -> None:
    design = _signs(60, 80)
    family = np.repeat([0, 1], 40)
    draws = design.draw(1999, np.random.default_rng(8))
    even = null_distribution(design, family, (1.0, 1.0), draws)
    uneven = null_distribution(design, family, (9.0, 1.0), draws)
    assert uneven.threshold(0, 0.1) < even.threshold(0, 0.1)
    assert uneven.threshold(1, 0.1) > even.threshold(1, 0.1)
    assert even.shares.sum() == pytest.approx(1)


def test_a_relabelled_diff_seldom_finds_anything(
    everything: tuple[Hypotheses, Null, np.ndarray],
) -> None:
    hypotheses, null, labels = everything
    findings = [bool(select(hypotheses, null, labels[:, [k]], FDR)) for k in range(NULLS)]
    # One-sided: a true rate of 0.1 would exceed this in one of a thousand test runs.
    assert sum(findings) <= stats.binom.isf(0.001, NULLS, FDR)


def test_the_expected_number_covers_all_families_together(
    everything: tuple[Hypotheses, Null, np.ndarray],
) -> None:
    hypotheses, null, labels = everything
    scores = hypotheses.design.scores(labels, np.arange(hypotheses.design.size))
    smallest = np.array(
        [null.expected(scores[:, k], hypotheses.family).min() for k in range(NULLS)]
    )
    for level in (0.05, 0.1, 0.3):
        assert (smallest <= level).sum() <= stats.binom.isf(0.001, NULLS, level)
    # And it is not so cautious that it could never find anything.
    assert (smallest <= 1.0).mean() > 0.2


def test_global_p_is_uniform_where_nothing_differs() -> None:
    p = [
        compare(made_up(40, 2 * s, "A"), made_up(40, 2 * s + 1, "B")).global_test.p
        for s in range(20)
    ]
    assert stats.kstest(p, "uniform").pvalue > 0.001
