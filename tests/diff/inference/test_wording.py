"""Findings in words: no double negatives, words that are shown, typical values for measures."""

from __future__ import annotations

import numpy as np
import pytest

from custodes.diff.features.indicators import Indicator
from custodes.diff.features.style import MEASURES
from custodes.diff.inference.effects import measure
from custodes.diff.inference.wording import (
    STYLES,
    Level,
    clause,
    percent,
    plain_behaviour,
    shown_words,
    statement,
)

UP = measure(np.repeat([0.0, 1.0], [90, 10]), np.repeat([0.0, 1.0], [60, 40]), paired=True)
DOWN = measure(np.repeat([0.0, 1.0], [60, 40]), np.repeat([0.0, 1.0], [90, 10]), paired=True)
SHORT = Indicator("feature", "style", "has words ≤ 12", form="length", measure="words",
                  least=12, falling=True)  # fmt: skip


def test_a_statement_has_direction_condition_and_both_rates() -> None:
    hedges = Indicator("feature", "behaviour", "hedges")
    assert statement(hedges, UP) == "B hedges more often: 40% of answers, A 10%"
    expected = "B hedges less often, where the prompt is long: 10% of answers, A 40%"
    assert statement(hedges, DOWN, condition="is long") == expected
    assert "“perhaps”, “maybe”" in statement(hedges, UP, words=("perhaps", "maybe"))


def test_what_is_only_length_says_shorter_with_the_words_of_both() -> None:
    level = Level("{:.0f} words", a=44, b=31)
    assert statement(SHORT, UP, level=level) == "B is shorter: 31 words in the median answer, A 44"
    # Only the extremes changed: the median says nothing.
    same = Level("{:.0f} words", a=44, b=44)
    assert statement(SHORT, UP, level=same) == (
        "B is shorter: markedly so in 40% of answers, A in 10%"
    )
    assert plain_behaviour(SHORT) == "has at most 12 words"


@pytest.mark.parametrize("falling", [False, True])
def test_no_measure_is_more_of_less(falling: bool) -> None:
    for name in STYLES:
        one = Indicator("feature", "style", "x", form="style", measure=name, falling=falling)
        text = statement(one, UP)
        assert text.startswith(f"B {STYLES[name][1 if falling else 0]}: markedly so in 40% of")
        assert "often" not in text


def test_every_measure_has_its_words() -> None:
    assert set(MEASURES) <= set(STYLES)


def test_a_quotation_is_shown_as_it_is_written_most_often() -> None:
    phrase = Indicator("phrase", "phrase", "begins with “i'm glad”", r"(?i)\A\s*i'm\s*glad",
                       form="quotation")  # fmt: skip
    words = shown_words(phrase, ["I'm glad you asked.", "I'm glad. It is so.", "i'm glad."])
    assert words == ("I'm glad",)
    assert plain_behaviour(phrase, words) == "begins with “I'm glad …”"


def test_words_are_those_that_became_more_frequent() -> None:
    hedges = Indicator("feature", "behaviour", "hedges", r"(?i)\b(?:perhaps|maybe|might)\b")
    texts = ["Perhaps it might."] * 6 + ["Maybe."] * 3
    assert shown_words(hedges, texts, ["It might."] * 6) == ("Perhaps", "Maybe")
    # Marks say nothing; a word that is there once is an accident.
    marks = Indicator("feature", "behaviour", "has an exclamation mark", "!")
    assert shown_words(marks, ["Oh!"] * 5) == ()
    assert shown_words(hedges, ["Perhaps."]) == ()


def test_a_clause_names_the_direction_of_an_absent_behaviour() -> None:
    absent = Indicator("feature", "behaviour", "says I", absent=True)
    assert clause(absent, 0.3) == "says I less often"
    assert clause(absent, -0.3) == "says I more often"
    assert clause(SHORT, 0.3) == "is shorter"
    assert clause(SHORT, -0.3) == "is longer"


def test_small_shares_keep_a_decimal() -> None:
    assert [percent(x) for x in (0, 0.004, 0.05, 0.12, 1)] == ["0%", "0.4%", "5.0%", "12%", "100%"]
