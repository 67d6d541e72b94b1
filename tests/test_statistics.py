"""Means over seeds and prompts at once."""

from __future__ import annotations

import numpy as np
import pytest

from custodes.statistics import crossed_mean


def test_a_mean_over_seeds_and_prompts_covers_the_truth_where_seeds_differ() -> None:
    rng = np.random.default_rng(0)
    covered = narrow = 0
    for _ in range(300):
        values = rng.normal(0, 0.5, (3, 1)) + rng.normal(0, 1, (1, 60)) + rng.normal(size=(3, 60))
        interval = crossed_mean(values)
        covered += interval.low <= 0 <= interval.high
        # What an interval over prompts alone would be, with the seeds averaged.
        se = values.mean(0).std(ddof=1) / 60**0.5
        narrow += abs(values.mean()) <= 2 * se
    # 92% of 2,000 draws; intervals over prompts alone cover in 64%.
    assert covered >= 0.88 * 300
    assert narrow < 0.75 * 300


def test_seeds_that_agree_give_the_interval_over_prompts() -> None:
    values = np.random.default_rng(1).normal(0, 1, 40)
    interval = crossed_mean([values, values, values])
    se = values.std(ddof=1) / 40**0.5
    assert interval.mean == pytest.approx(values.mean())
    assert interval.high - interval.mean == pytest.approx(2.0227 * se, rel=1e-4)


def test_seeds_that_differ_by_a_constant_give_the_interval_over_seeds() -> None:
    values = np.array([0.0, 1.0, 2.0])[:, None] + np.zeros((3, 50))
    interval = crossed_mean(values)
    assert (interval.mean, interval.n) == (1.0, 50)
    assert interval.high - interval.mean == pytest.approx(4.3027 / 3**0.5, rel=1e-4)


@pytest.mark.parametrize("values", [[[1.0, 2.0]], [[1.0], [2.0]], [[1.0, np.nan], [2.0, 3.0]]])
def test_one_seed_or_prompt_is_refused(values: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="two or more"):
        crossed_mean(values)


def test_equal_values_have_an_interval_of_no_width_in_spite_of_rounding() -> None:
    interval = crossed_mean(np.full((3, 5), 0.5312161232098263))
    assert interval.high - interval.low == pytest.approx(0.0, abs=1e-9)
