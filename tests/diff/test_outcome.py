"""The sentences that open a comparison: what they warn of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from custodes.diff.compare import compare
from custodes.diff.inference.findings import _once

WORDS = ("the", "river", "runs", "past", "mill", "and", "old", "houses", "bread", "winter")


def answers(seed: int, end: str, n: int = 24) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {"prompt": f"question {i}", "response": " ".join(rng.choice(WORDS, 16)) + end}
        for i in range(n)
    ]


def test_equal_answers_are_said_to_be_equal() -> None:
    rows = answers(0, ".")
    assert compare(rows, rows).outcome.startswith("All answers of A and B are the same, on 24")
    changed = [*rows[:-1], {**rows[-1], "response": "Something else."}]
    assert "are the same" not in compare(rows, changed).outcome


def test_answers_that_a_limit_cut_off_are_warned_of() -> None:
    cut, whole = answers(0, " and"), answers(1, ".")
    assert "end in mid-sentence (100% of A's, 100% of B's)" in compare(cut, cut[::-1]).outcome
    assert "mid-sentence" not in compare(cut, whole).outcome
    # Answers of a word need no full stop.
    short = [{**row, "response": "yes"} for row in cut]
    assert "mid-sentence" not in compare(short, short).outcome


def test_what_is_a_finding_of_its_own_is_not_listed_under_another() -> None:
    found = compare(answers(0, ".", 60), answers(1, ". Let me know!", 60)).findings[0]
    first = replace(found, change="is longer", correlated=("has a list", "says so (A 1.5%, B 9%)"))
    second = replace(
        found, change="has a list", correlated=("is longer",), composition=("says so", "is longer")
    )
    kept = _once([first, second])
    assert [finding.correlated for finding in kept] == [("says so (A 1.5%, B 9%)",), ()]
    assert kept[1].composition == ("says so",)


def test_a_finding_that_the_global_test_does_not_confirm_says_so() -> None:
    diff = compare(answers(0, ".", 60), answers(1, ". Let me know!", 60))
    assert "does not confirm" not in diff.outcome
    doubted = replace(diff, global_test=replace(diff.global_test, p=0.06))
    assert "does not confirm it (p = 0.06)" in doubted.outcome
