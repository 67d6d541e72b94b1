"""Axes and points: what is read, what is refused."""

import pytest

from custodes.errors import ConfigError
from custodes.sweep.space import Space

MIXED = {
    "x": (0.0, 2.0),
    "rate": (1e-4, 1.0, "log"),
    "n": [4, 1, 2],
    "kind": ["a", "b", "c"],
    "flag": [True, False],
}


def test_a_point_is_encoded_in_the_unit_cube():
    space = Space.parse(MIXED)
    row = space.encode([{"x": 1.0, "rate": 1e-2, "n": 2, "kind": "b", "flag": False}])
    assert row.tolist() == [[0.5, 0.5, 0.5, 0.0, 1.0, 0.0, 1.0]]
    assert space.groups.tolist() == [0, 1, 2, 3, 3, 3, 4]


def test_shares_become_values_of_the_axis_and_their_types():
    low, high = Space.parse(MIXED).from_unit([[0.0] * 5, [1.0] * 5])
    assert low == {"x": 0.0, "rate": 1e-4, "n": 1, "kind": "a", "flag": True}
    assert high == {"x": 2.0, "rate": 1.0, "n": 4, "kind": "c", "flag": False}
    assert [type(value) for value in low.values()] == [float, float, int, str, bool]


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ((1.0, 0.0), r"low 1 is not below high 0: write \(0, 1\)"),
        ((1.0, 1.0), "they must differ"),
        ((0.0, float("inf")), "both must be finite"),
        ((0.0, 1.0, "log"), "a log axis from 0"),
        ((0.0, 1.0, "lg"), "write"),
        ([], "has no values"),
        ([1, 1], "lists a value twice"),
        ("ab", "neither"),
        (3, "neither"),
        ([[1]], "numbers, strings or booleans"),
        ([1, float("nan")], "finite"),
    ],
)
def test_what_is_no_axis_is_refused(axis, message):
    with pytest.raises(ConfigError, match=message):
        Space.parse({"x": axis})


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"x": 0.5, "knd": "a"}, "did you mean kind"),
        ({"x": 0.5}, "without 'kind'"),
        ({"x": 3.0, "kind": "a"}, "it goes from 0 to 1"),
        ({"x": float("nan"), "kind": "a"}, "not on its axis"),
        ({"x": 0.5, "kind": "aa"}, "not on its axis"),
        ({"x": True, "kind": "a"}, "not on its axis"),
        (5, "no point"),
    ],
)
def test_what_is_no_point_is_refused(point, message):
    with pytest.raises(ConfigError, match=message):
        Space.parse({"x": (0.0, 1.0), "kind": ["a", "b"]}).encode([point])


def test_true_is_not_one():
    space = Space.parse({"flag": [True, False]})
    with pytest.raises(ConfigError):
        space.encode([{"flag": 1}])


def test_a_space_needs_axes():
    with pytest.raises(ConfigError, match="without axes"):
        Space.parse({})
