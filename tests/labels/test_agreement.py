from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from custodes.data.labels import Label, read_labels
from custodes.errors import DataError
from custodes.labels import LabelSummary, Session, agreement, alpha, summary
from support.labels import Habit, always, careful, items, label_all

PROMPT = ({"role": "user", "content": "Q?"},)


def labels(**choices: str) -> list[Label]:
    """Return labels of annotators, one letter an item: a, b, t (tie), s (skip)."""
    names = {"a": "a", "b": "b", "t": "tie", "s": "skip"}
    return [
        Label(f"i{k}", name, names[letter], "a", PROMPT, "x", "y")  # type: ignore[arg-type]
        for name, letters in choices.items()
        for k, letter in enumerate(letters)
        if letter != "."
    ]


def labelled(path: Path, n: int, repeats: float, **habits: Habit) -> LabelSummary:
    with Session(items(n), path / "labels.jsonl", repeats=repeats) as session:
        for name, habit in habits.items():
            label_all(session, name, habit)
        return summary(session.labels)


@given(st.lists(st.lists(st.integers(-1, 2), min_size=8, max_size=8), min_size=2, max_size=5))
def test_alpha_is_that_of_the_krippendorff_package(ratings: list[list[int]]) -> None:
    oracle = pytest.importorskip("krippendorff")
    ours = alpha(np.array(ratings))
    data = np.array([[np.nan if r < 0 else r for r in row] for row in ratings])
    values = [
        r
        for column in zip(*ratings, strict=True)
        for r in column
        if r >= 0 and sum(x >= 0 for x in column) > 1
    ]
    if len(set(values)) < 2:
        assert ours is None
    else:
        theirs = oracle.alpha(data, level_of_measurement="nominal", value_domain=[0, 1, 2])
        assert ours == pytest.approx(theirs)


def test_the_worked_example_of_the_literature() -> None:
    """Krippendorff, "Computing Krippendorff's alpha-reliability", 2011, example C: .743."""
    ratings = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, -1, -1, -1],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, -1, 3],
        [-1, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, -1],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, -1],
    ]
    assert alpha(np.array(ratings)) == pytest.approx(0.743, abs=5e-4)


def test_equal_answers_agree_in_full() -> None:
    result = agreement(labels(ann="ababbabaab", bob="ababbabaab"))
    assert (result.alpha, result.same, result.shared) == (1.0, 1.0, 10)
    assert result.control.passed is True


def test_annotators_who_agree_on_the_first_column_agree() -> None:
    """In a file of chosen and rejected the first answer is always better: no chance agreement."""
    result = agreement(labels(ann="a" * 30, bob="a" * 27 + "bbb"))
    assert result.alpha is not None
    assert result.alpha > 0.7
    assert result.control.passed is True


def test_chance_passes_the_control_at_most_at_its_level() -> None:
    rng = np.random.default_rng(0)
    passed = 0
    for _ in range(60):
        ann, bob = ("".join(rng.choice(list("abt"), 25)) for _ in range(2))
        result = agreement(labels(ann=ann, bob=bob))
        passed += result.control.passed is True
        assert result.low is not None
        assert result.alpha is not None
        assert result.low <= result.alpha
    assert passed <= 7


def test_missing_answers_count_for_nothing() -> None:
    full = agreement(labels(ann="abab", bob="abba"))
    more = agreement(labels(ann="ababbs", bob="abba.a"))
    assert (full.alpha, full.shared) == (more.alpha, more.shared)


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"ann": "abab"}, "1 annotators; it takes two"),
        ({}, "0 annotators"),
        ({"ann": "abab....", "bob": "....abab"}, "only 0 of the same items"),
        ({"ann": "abab", "bob": "abab"}, "only 4 of the same items"),
        ({"ann": "tttttt", "bob": "tttttt"}, "all answers are the same"),
    ],
)
def test_what_cannot_be_tested_is_not(choices: dict[str, str], reason: str) -> None:
    control = agreement(labels(**choices)).control
    assert control.passed is None
    assert reason in control.explanation


def status(result: LabelSummary, start: str) -> str:
    return next(c.status for c in result.controls if c.name.startswith(start))


def test_careful_annotators_pass_every_control(tmp_path: Path) -> None:
    result = labelled(tmp_path, 60, 0.5, ann=careful(0.05), bob=careful(0.1, seed=1))
    assert {control.status for control in result.controls} == {"passed"}
    assert all(one.consistent is not None and one.consistent > 0.7 for one in result.annotators)


@pytest.mark.parametrize("side", ["left", "right"])
def test_somebody_who_always_presses_one_side_is_caught(side: str, tmp_path: Path) -> None:
    result = labelled(tmp_path, 60, 0.1, ann=careful(0.05), bob=always(side))  # type: ignore[arg-type]
    bob = result.annotators[1]
    assert bob.consistent == 0
    assert bob.left == (side == "left")
    assert status(result, "repeated items get the same answer: bob") == "failed"
    assert status(result, "no side is preferred: bob") == "failed"
    assert status(result, "annotators agree") == "failed"
    assert status(result, "no side is preferred: ann") == "passed"
    assert [control.status for control in result.controls[:3]] == ["failed"] * 3


def test_somebody_who_answers_by_chance_is_caught(tmp_path: Path) -> None:
    result = labelled(tmp_path, 60, 0.6, ann=careful(0.5, seed=3))
    assert status(result, "repeated items get the same answer") == "failed"


def test_few_repeats_are_not_tested(tmp_path: Path) -> None:
    result = labelled(tmp_path, 10, 0.1, ann=careful(0))
    assert status(result, "repeated items") == "not tested"
    assert status(result, "annotators agree") == "not tested"


def test_files_of_several_annotators_are_read_together(tmp_path: Path) -> None:
    paths = []
    for name in ("ann", "bob"):
        paths.append(tmp_path / f"{name}.jsonl")
        with Session(items(12), paths[-1]) as session:
            label_all(session, name, careful(0))
    together = read_labels(paths)
    assert agreement(together).alpha == 1.0
    with pytest.raises(DataError, match="a second answer of 'ann'"):
        read_labels([paths[0], paths[0]])
