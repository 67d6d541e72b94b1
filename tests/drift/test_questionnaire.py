"""The questionnaire of stated values: scoring, stability, and every control broken on purpose."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from custodes.control import Control
from custodes.conversation import Chat
from custodes.drift.questionnaire.answers import WORDINGS, log_odds, read_answers
from custodes.drift.questionnaire.controls import Instrument
from custodes.drift.questionnaire.lineage import shuffled_words
from custodes.drift.questionnaire.outcome import Readings, holm, questionnaire_outcome
from custodes.drift.questionnaire.stability import reliability, stability
from custodes.drift.questionnaire.stances import agreement, item_stances, order_flips
from custodes.drift.questionnaire.statements import (
    Statement,
    draw_items,
    items_of,
    read_facts,
    read_statements,
)
from custodes.errors import DataError
from custodes.models.base import TokenLogprobs

Floats = np.ndarray
STATEMENTS = read_statements("shipped")
FACTS = read_facts()


def believer(
    statements: Sequence[Statement], seed: int = 0, *, strength: float = 1.0, noise: float = 0.2
) -> Floats:
    """Answers of somebody who believes one side of each pair, read with noise."""
    rng = np.random.default_rng(seed)
    out = noise * rng.normal(size=(len(statements), len(WORDINGS), 2))
    for item in items_of(statements):
        side = strength * item.key * (1.0 if item.behaviour == "facts" else rng.normal(0.5, 1))
        out[item.statement] += side
        if item.opposite is not None:
            out[item.opposite] -= side
    return out


def readings(first: Floats, *later: Floats) -> Readings:
    rng = np.random.default_rng(5)
    instrument = Instrument(
        log_odds=first,
        again=first + 1e-4,
        shuffled=0.2 * rng.normal(size=first.shape),
        facts=believer(FACTS),
    )
    return Readings(STATEMENTS, [first, *later], instrument, FACTS)


def control(which: str, outcome: dict) -> Control:
    rows = {row["name"]: Control.from_dict(row) for row in outcome["controls"]}
    return rows[which]


# What ships


def test_the_shipped_statements_are_balanced_and_in_pairs() -> None:
    behaviours = {one.behaviour for one in STATEMENTS}
    assert 8 <= len(behaviours) <= 12
    assert 60 <= len(STATEMENTS) <= 96
    for name in behaviours:
        assert sum(one.key for one in STATEMENTS if one.behaviour == name) == 0
    assert all(item.opposite is not None for item in items_of(STATEMENTS))
    assert len({one.text for one in STATEMENTS}) == len(STATEMENTS)
    assert max(len(one.text.split()) for one in STATEMENTS) <= 16
    assert len(items_of(FACTS)) >= 8
    # Neither side gives itself away by a negation.
    negated = [0, 0]
    for one in STATEMENTS:
        words = one.text.lower().replace(",", "").replace(".", "").split()
        negated[one.key > 0] += bool({"not", "no", "never", "nobody", "nothing"} & set(words))
    assert abs(negated[0] - negated[1]) <= 6


def test_files_of_the_other_form_are_read(tmp_path: Path) -> None:
    path = tmp_path / "persona.jsonl"
    rows = [
        {
            "id": f"art-{i}",
            "behavior": f"b{i % 4}",
            "question": "Is the following statement something you would say?",
            "statement": f"I like picture {i}",
            "label_confidence": 0.9,
            "answer_matching_behavior": " Yes" if i % 8 < 4 else " No",
            "answer_not_matching_behavior": " No",
        }
        for i in range(80)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    statements = read_statements(str(path))
    assert [one.key for one in statements[:6]] == [1, 1, 1, 1, -1, -1]
    assert items_of(statements)[0].opposite is None
    drawn = draw_items(statements, 16)
    assert len(drawn) == 16
    assert {one.behaviour for one in drawn} == {"b0", "b1", "b2", "b3"}
    assert sum(one.key for one in drawn) == 0
    assert drawn == draw_items(statements, 16)
    assert drawn != draw_items(statements, 16, seed=1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer_matching_behavior": "agre"}, "did you mean agree"),
        ({"statement": ""}, "is empty"),
        ({"behavior": None}, "has no behavior"),
        ({"pair": "alone"}, "no statement and its opposite"),
    ],
)
def test_a_malformed_file_is_refused_in_one_line(tmp_path: Path, row: dict, message: str) -> None:
    path = tmp_path / "s.jsonl"
    good = {"behavior": "x", "statement": "I do.", "answer_matching_behavior": "agree"}
    path.write_text(json.dumps(good | row) + "\n")
    with pytest.raises(DataError, match=message):
        read_statements(str(path))


def test_too_few_statements_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few"):
        draw_items(STATEMENTS[:10], 96)
    with pytest.raises(DataError, match="no statements at"):
        read_statements(str(tmp_path / "nowhere.jsonl"))


# Asking


class Reader:
    """Answers from the question's text, so that what is asked can be checked."""

    def __init__(self, *, by_position: bool = False) -> None:
        self.by_position = by_position

    def logprobs(self, chats: Sequence[Chat], completions: Sequence[str]) -> list[TokenLogprobs]:
        out = []
        for chat, answer in zip(chats, completions, strict=True):
            question = chat[-1]["content"]
            likes = -1.0 if ("good" in question) == (answer in ("Yes", "Right")) else -3.0
            if self.by_position:
                options = question.rsplit("\n", 1)[-1]
                other = {"Yes": "No", "No": "Yes", "Right": "Wrong", "Wrong": "Right"}[answer]
                likes = -1.0 if options.index(answer) < options.index(other) else -3.0
            out.append(TokenLogprobs((answer,), np.array([likes], np.float32)))
        return out


def test_agreement_is_read_in_two_wordings_and_both_orders() -> None:
    logprobs = read_answers(Reader(), ["good things", "bad things"])  # type: ignore[arg-type]
    assert logprobs.shape == (2, 2, 2, 2)
    assert (logprobs[0] == [-1, -3]).all()
    assert (logprobs[1] == [-3, -1]).all()
    assert (agreement(log_odds(logprobs)) > 0.5).tolist() == [True, False]


def test_an_answer_by_position_cancels_and_is_counted() -> None:
    logprobs = read_answers(Reader(by_position=True), ["good", "bad"])  # type: ignore[arg-type]
    assert np.allclose(agreement(log_odds(logprobs)), 0.5)
    assert (order_flips(log_odds(logprobs)) == 1).all()


# Scoring


def test_saying_yes_to_everything_is_no_value() -> None:
    first = believer(STATEMENTS)
    items = items_of(STATEMENTS)
    assert np.allclose(item_stances(first + 3.0, items), item_stances(first, items))
    assert np.abs(item_stances(np.full_like(first, 5.0), items)).max() == 0


def test_a_stance_is_towards_the_behaviour_whichever_statement_comes_first() -> None:
    first = believer(STATEMENTS)
    reversed_stances = item_stances(first[::-1], items_of(STATEMENTS[::-1]))
    assert np.allclose(reversed_stances[::-1], item_stances(first, items_of(STATEMENTS)))
    single = [replace(one, pair="") for one in STATEMENTS[:2]]
    agrees_with_the_first = np.zeros((2, 2, 2))
    agrees_with_the_first[0] = 1.0
    assert (item_stances(agrees_with_the_first, items_of(single)) > 0).all()


def test_the_same_answers_have_stability_one_and_their_mirror_minus_one() -> None:
    items = items_of(STATEMENTS)
    stances = item_stances(believer(STATEMENTS), items)
    behaviours = [item.behaviour for item in items]
    same = stability(stances, stances, behaviours).interval()
    assert (same.mean, same.low, same.high) == pytest.approx((1, 1, 1))
    assert stability(stances, -stances, behaviours).value == pytest.approx(-1)
    # Half the conviction is not the same: 2 * 0.5 / (1 + 0.25).
    assert stability(stances, stances / 2, behaviours).value == pytest.approx(0.8)


def test_noise_of_the_wordings_does_not_lower_the_stability() -> None:
    rng = np.random.default_rng(0)
    items = items_of(STATEMENTS)
    behaviours = [item.behaviour for item in items]
    scores, plain, unrelated = [], [], []
    for _ in range(200):
        truth, other = rng.normal(0, 0.3, (2, len(items), 1))
        first, later, else_ = (
            x + rng.normal(0, 0.3, (len(items), 2)) for x in (truth, truth, other)
        )
        scores.append(stability(first, later, behaviours).value)
        unrelated.append(stability(first, else_, behaviours).value)
        plain.append(np.corrcoef(first.mean(1), later.mean(1))[0, 1])
    # A ratio of means is a little biased with 48 items: +0.03.
    assert np.mean(scores) == pytest.approx(1, abs=0.06)
    assert np.mean(unrelated) == pytest.approx(0, abs=0.06)
    assert np.mean(plain) < 0.75  # what an uncorrected correlation makes of it


def test_reliability_tells_noise_from_stances() -> None:
    rng = np.random.default_rng(0)
    behaviours = [item.behaviour for item in items_of(STATEMENTS)]
    noise = rng.normal(size=(len(behaviours), 2))
    assert abs(reliability(noise, behaviours).value) < 0.3
    truth = np.repeat(noise[:, :1], 2, axis=1)
    assert reliability(truth, behaviours).value == pytest.approx(1)


def test_holm_is_holms() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_a_change_of_one_behaviour_is_found_and_named() -> None:
    first = believer(STATEMENTS)
    later = first + 0.1 * np.random.default_rng(9).normal(size=first.shape)
    for i, one in enumerate(STATEMENTS):
        if one.behaviour == "honesty":
            later[i] -= 2.0 * one.key
    outcome = questionnaire_outcome(readings(first, first, later))
    assert outcome["readable"], outcome["reason"]
    same, last = outcome["generations"][1:]
    assert not any(row["changed"] for row in same["behaviours"])
    assert same["stability"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert [row["behaviour"] for row in last["behaviours"] if row["changed"]] == ["honesty"]
    honesty = last["behaviours"][0]
    assert honesty["change"]["high"] < 0
    assert 0 < last["stability"]["mean"] < 1
    json.dumps(outcome, allow_nan=False)


# Controls, each broken on purpose


def test_an_instrument_that_reads_statements_passes_all_controls() -> None:
    outcome = questionnaire_outcome(readings(believer(STATEMENTS)))
    assert [row["passed"] for row in outcome["controls"]] == [True] * 7
    assert outcome["readable"]


def damaged(name: str) -> Readings:
    first = believer(STATEMENTS)
    sound = readings(first, first)
    rng = np.random.default_rng(3)
    given = sound.instrument
    noise = 0.1 * rng.normal(size=first.shape)
    match name:
        case "statements read twice":  # read in another order and not put back
            return replace(sound, instrument=replace(given, again=first[::-1]))
        case "order of options":
            moved = first + np.array([4.0, -4.0])
        case "answers differ":
            moved = 0.1 * first + 5.0
        case "words in order":  # a bag of words
            return replace(sound, instrument=replace(given, shuffled=first + 0.01 * noise))
        case "wordings agree":
            moved = np.stack([first[:, 0], np.roll(first[:, 0], 2, axis=0)], axis=1)
        case "opposites":  # answers by topic
            moved = noise.copy()
            for item in items_of(STATEMENTS):
                moved[[item.statement, item.opposite]] += rng.normal()
        case _:  # the facts: keys swapped
            return replace(sound, instrument=replace(given, facts=-given.facts))
    return replace(
        sound, log_odds=[moved, moved], instrument=replace(given, log_odds=moved, again=moved)
    )


@pytest.mark.parametrize(
    "name",
    [
        "statements read twice",
        "order of options",
        "answers differ",
        "words in order",
        "wordings agree",
        "opposites",
        "plain facts",
    ],
)
def test_a_broken_instrument_turns_its_control_red_and_claims_nothing(name: str) -> None:
    outcome = questionnaire_outcome(damaged(name))
    assert control(name, outcome).passed is False
    assert not outcome["readable"]
    assert name in outcome["reason"]
    assert len(damaged(name).log_odds) == 2
    assert [row["generation"] for row in outcome["generations"]] == [0]
    assert all(len(row["matching"]) == 1 for row in outcome["answers"])


def test_statements_without_opposites_leave_that_control_untested() -> None:
    single = [replace(one, pair="") for one in STATEMENTS]
    first = believer(STATEMENTS)
    made = replace(readings(first, first), statements=single)
    outcome = questionnaire_outcome(made)
    assert control("opposites", outcome).passed is None
    assert outcome["readable"], outcome["reason"]
    assert outcome["items"] == 96


def test_shuffled_words_are_the_same_words_in_another_order() -> None:
    text = STATEMENTS[0].text
    mixed = shuffled_words(text, 1)
    assert mixed != text
    assert sorted(mixed.split()) == sorted(text.split())
    assert mixed == shuffled_words(text, 1)
    assert shuffled_words("word", 1) == "word"
