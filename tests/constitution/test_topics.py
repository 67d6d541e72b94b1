"""Which topic a query is about: heads, letters, agreement and confusion."""

from __future__ import annotations

import numpy as np
import pytest

from custodes.constitution.stages.red_team import _correlation, _penetration, _select
from custodes.constitution.stages.topics import agreement, classify_by_head, confusion, parse_topic
from custodes.errors import DataError


def planted(n: int, signal: float) -> tuple[np.ndarray, list[str | None]]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    return rng.normal(size=(n, 8)) + signal * np.eye(8)[y], [f"t{k}" for k in y]


def test_a_head_is_right_on_queries_it_did_not_see_and_its_twin_is_not() -> None:
    features, labels = planted(150, 3.0)
    result = classify_by_head(features, labels, 150, least=0.0, seed=0)
    assert result.control.passed is True
    assert result.facts["accuracy"] > 0.9
    assert result.facts["shuffled"] < 0.5


def test_a_head_without_a_signal_fails_its_control() -> None:
    features, labels = planted(150, 0.0)
    assert classify_by_head(features, labels, 150, least=0.0, seed=0).control.passed is False


def test_unlabelled_queries_are_classified_and_unsure_ones_are_not() -> None:
    features, labels = planted(150, 3.0)
    truth = labels[:20]
    result = classify_by_head(features, [None] * 20 + labels[20:], 20, least=0.0, seed=0)
    assert sum(a == b for a, b in zip(result.topics, truth, strict=True)) > 16
    unsure = classify_by_head(features, [None] * 20 + labels[20:], 20, least=1.0, seed=0)
    assert unsure.topics == [None] * 20
    assert unsure.facts["abstentions"] == 20


def test_too_few_labels_are_one_clear_line() -> None:
    features, labels = planted(12, 1.0)
    with pytest.raises(DataError, match="needs 10 labelled queries of each"):
        classify_by_head(features, labels, 12, least=0.0, seed=0)


@pytest.mark.parametrize(
    ("reply", "letter"),
    [("A", "A"), ("(B)", "B"), ("[[C]]", "C"), ("D. none", "D"), ("Both", None), ("", None),
     ("I think A", None), ("a", None)],
)  # fmt: skip
def test_letters_are_read_strictly(reply: str, letter: str | None) -> None:
    assert parse_topic(reply) == letter


def test_agreement_is_corrected_for_chance_and_abstentions_are_counted() -> None:
    facts = agreement(["a", "a", "b", "b", None], ["a", "b", "b", "b", "a"])
    assert facts["both"] == 4
    assert facts["abstentions"] == [1, 0]
    assert facts["agree"] == 0.75
    assert facts["kappa"] == pytest.approx(0.5)
    assert agreement(["a"], ["a"])["kappa"] is None
    assert confusion(["a", "a", None], ["a", None, "a"]) == {"a": {"a": 1, "abstained": 1}}


def test_selection_is_balanced_and_takes_what_penetrates_first() -> None:
    topics = ["x", "x", "x", "y", "y", None]
    values = [0.9, 0.1, None, 0.5, 0.4, 0.0]
    assert _select(topics, values, 2) == {1, 4}
    assert _select(topics, values, 5) == {0, 1, 2, 3, 4}


def test_penetration_is_checked_on_answers_drawn_anew() -> None:
    rng = np.random.default_rng(0)
    chosen = set(range(30))
    topics = [""] * 60
    luck = [float(v) for v in rng.uniform(0.3, 0.7, 60)]
    assert _penetration(luck, chosen, topics).passed is False
    real = [v - 0.3 * (i in chosen) for i, v in enumerate(luck)]
    assert _penetration(real, chosen, topics).passed is True
    assert _penetration(real, set(range(60)), topics).passed is None


def test_a_topic_that_is_easy_to_penetrate_is_no_penetrating_query() -> None:
    """The selection takes more of an easy topic, and within the topics by luck."""
    rng = np.random.default_rng(0)
    topics = ["easy"] * 30 + ["hard"] * 30
    values = [float(rng.uniform(0, 0.4)) + 0.5 * (topic == "hard") for topic in topics]
    chosen = {*range(20), *range(30, 40)}
    inside, outside = (
        [v for i, v in enumerate(values) if (i in chosen) is k] for k in (True, False)
    )
    assert np.mean(inside) < np.mean(outside) - 0.1
    assert _penetration(values, chosen, topics).passed is False


def test_several_answers_select_where_one_is_luck() -> None:
    """Queries differ less than the answers to each of them do."""
    rng = np.random.default_rng(1)
    shown = {1: 0, 8: 0}
    for _ in range(20):
        query = rng.normal(0, 0.05, 240)
        again = [float(q + rng.normal(0, 0.15)) for q in query]
        for n in shown:
            means = [float(np.mean(q + rng.normal(0, 0.15, n))) for q in query]
            control = _penetration(again, _select([""] * 240, means, 60), [""] * 240)
            shown[n] += control.passed is True
    assert shown[8] >= 16
    assert shown[1] <= 12


def test_how_much_the_selection_says_is_a_correlation() -> None:
    assert _correlation([0.1, 0.2, None, 0.3], [0.2, 0.4, 0.9, 0.6]) == 1.0
    assert _correlation([0.1, 0.1], [0.2, 0.3]) is None
    assert _correlation([None, 0.1], [0.2, None]) is None
