"""Error rates over all that is looked at: what would show if they were not kept."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from custodes.diff.compare import compare
from custodes.diff.inference.hypotheses import SHARES, Hypotheses, build
from custodes.diff.inference.null import Null, null_distribution
from custodes.diff.inference.selection import select
from custodes.diff.responses import align
from support.texts import made_up

FDR = 0.1
NULLS = 200


@pytest.fixture(scope="module")
def looked() -> tuple[Hypotheses, Null, np.ndarray]:
    """Everything looked at in one made-up diff, its null, and labels to try it on."""
    hypotheses = build(align(made_up(120, 1, "A"), made_up(120, 2, "B")), seed=0)
    rng = np.random.default_rng(0)
    null = null_distribution(
        hypotheses.design,
        hypotheses.family,
        tuple(SHARES.values()),
        hypotheses.design.draw(999, rng),
    )
    return hypotheses, null, hypotheses.design.draw(NULLS, rng)


def test_a_relabelled_diff_seldom_finds_anything(
    looked: tuple[Hypotheses, Null, np.ndarray],
) -> None:
    hypotheses, null, labels = looked
    found = [bool(select(hypotheses, null, labels[:, [k]], FDR)) for k in range(NULLS)]
    # One-sided: a true rate of 0.1 would exceed this in one of a thousand test runs.
    assert sum(found) <= stats.binom.isf(0.001, NULLS, FDR)


def test_the_expected_number_covers_all_families_together(
    looked: tuple[Hypotheses, Null, np.ndarray],
) -> None:
    hypotheses, null, labels = looked
    scores = hypotheses.design.scores(labels, np.arange(hypotheses.design.size))
    smallest = np.array(
        [null.expected(scores[:, k], hypotheses.family).min() for k in range(NULLS)]
    )
    for level in (0.05, 0.1, 0.3):
        assert (smallest <= level).sum() <= stats.binom.isf(0.001, NULLS, level)
    # And it is not so cautious that it could never find anything.
    assert (smallest <= 1.0).mean() > 0.2


def test_global_p_is_uniform_where_nothing_differs() -> None:
    p = [compare(made_up(40, 2 * s, "A"), made_up(40, 2 * s + 1, "B")).gate.p for s in range(20)]
    assert stats.kstest(p, "uniform").pvalue > 0.001
