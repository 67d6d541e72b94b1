"""Figures as words."""

from __future__ import annotations

import pytest

from custodes.report.rows import shown
from custodes.report.wording import (
    FACTS,
    count,
    duration,
    facts,
    interval,
    number,
    plural,
    score,
    share,
)


def test_numbers_have_a_true_minus_and_no_negative_zero() -> None:
    assert [score(0.614), score(-0.25), score(-0.001), score(None)] == [
        "+0.61",
        "−0.25",
        "+0.00",
        "–",
    ]
    assert [number(-0.5), number(-0.0), number(0.1234, 3)] == ["−0.50", "0.00", "0.123"]
    assert interval([-0.1, 0.25]) == "[−0.10, 0.25]"
    assert interval(None) == ""
    assert [share(0.944), share(None)] == ["94%", "–"]


def test_counts_and_plurals() -> None:
    assert count(1234567) == "1\u202f234\u202f567"
    assert [plural(1, "step"), plural(0, "step")] == ["1 step", "0 steps"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (192, "3 min 12 s"), (7500, "2 h 5 min")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_seconds_never_round_up_to_a_sixtieth() -> None:
    assert duration(59.7) == "1 min 0 s"
    assert duration(3599.6) == "1 h 0 min"


def test_facts_of_any_shape() -> None:
    metrics = {
        "controls": [{"name": "x"}],
        "data": {"pairs": 128, "mixed_in": 32.5},
        "loss": [0.6931 - 0.01 * i for i in range(20)],
        "ok": True,
        "none": None,
        "few": [1, 2],
        "empty": [],
        "text": "a\x1b\nb",
    }
    assert facts(metrics, skip=("controls",)) == [
        ("data · pairs", "128"),
        ("data · mixed in", "32.5"),
        ("loss", "0.6931 → 0.5031 (20 values)"),
        ("ok", "yes"),
        ("none", "–"),
        ("few", "1, 2"),
        ("empty", "none"),
        ("text", r"a\x1b b"),
    ]


def test_facts_are_bounded() -> None:
    found = facts({str(i): "x" * 10_000 for i in range(1000)})
    assert len(found) == FACTS + 1
    assert found[-1] == ("…", f"{1000 - FACTS} more in events.jsonl")
    assert max(len(said) for _, said in found) <= 200


def test_left_out_rows_leave_the_ends() -> None:
    rows = [{"i": i} for i in range(1000)]
    some = shown(rows, 7)
    assert some.total == 1000
    assert [row["i"] for row in some.rows] == [0, 166, 333, 500, 666, 832, 999]
    assert shown(rows[:7], 7).rows == rows[:7]
