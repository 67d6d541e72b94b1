"""Good, bad or undecided; and which points hang together."""

import math

import pytest

from custodes.errors import ConfigError
from custodes.sweep.phases import Limit, judge, neighbours, overall, pooled_sd, regions

LINE = [{"x": x / 10} for x in range(11)]
SPACE = {"x": (0.0, 1.0)}


def test_an_interval_decides_or_does_not():
    limit = Limit(low=0.5)
    assert judge([0.9, 0.92, 0.91], limit).quality == "good"
    assert judge([0.1, 0.12, 0.11], limit).quality == "bad"
    assert judge([0.4, 0.6, 0.55], limit).quality == "undecided"
    assert judge([], limit).quality == "failed"


def test_one_run_of_unknown_error_decides_nothing():
    assert judge([9.0], Limit(low=0.5)).quality == "undecided"
    assert judge([9.0], Limit(low=0.5), sd=[0.1]).quality == "good"
    pooled = pooled_sd([[1.0, 1.1], [2.0, 2.1], [0.0, 0.1]])
    assert judge([9.0], Limit(low=0.5), pooled=pooled).quality == "good"


def test_what_is_seen_between_runs_counts_where_it_is_more_than_their_own_error():
    narrow = judge([1.0, 1.0], Limit(low=0.9), sd=[0.01, 0.01])
    pooled = pooled_sd([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    wide = judge([1.0, 1.0], Limit(low=0.9), sd=[0.01, 0.01], pooled=pooled)
    assert (narrow.quality, wide.quality) == ("good", "undecided")


def test_more_limits_make_wider_intervals():
    one = judge([1.0, 1.1], Limit(low=0.5), sd=[0.1, 0.1])
    many = judge([1.0, 1.1], Limit(low=0.5), sd=[0.1, 0.1], limits=10)
    assert many.high - many.low > one.high - one.low


def test_pooling_is_the_usual_variance():
    pooled = pooled_sd([[1.0, 3.0], [2.0, 2.0, 5.0], [7.0]])
    assert pooled.freedom == 3
    assert pooled.sd == pytest.approx(math.sqrt((2 + 6) / 3))


def test_one_bad_measure_makes_a_point_bad():
    good, bad = judge([1.0], Limit(low=0.5), sd=[0.1]), judge([1.0], Limit(high=0.5), sd=[0.1])
    assert overall([good, bad]) == "bad"
    assert overall([good, good]) == "good"


@pytest.mark.parametrize("limit", [{}, {"low": 1.0, "high": 0.0}])
def test_a_limit_is_one(limit):
    with pytest.raises(ConfigError):
        Limit(**limit)


def test_regions_are_neighbours_of_one_phase():
    labels = ["good"] * 4 + ["bad"] * 4 + ["good"] * 3
    found = regions(SPACE, LINE, labels, k=2)
    assert [(r.phase, len(r.members)) for r in found] == [("good", 4), ("bad", 4), ("good", 3)]
    assert regions(SPACE, [], []) == []


def test_neighbours_are_mutual():
    near = neighbours(SPACE, LINE, k=2)
    assert set(near[5]) == {4, 6}
    assert all(i in near[j] for i, js in enumerate(near) for j in js)
    assert neighbours(SPACE, LINE[:1]) == [()]
