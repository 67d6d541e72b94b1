from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from custodes.constitution import (
    Comparison,
    pairs_with_margins,
    rank,
    response_scores,
    transitivity,
)
from custodes.errors import DataError


def simulated(
    strengths: dict[str, float], prompts: int, seed: int = 0, soft: bool = False
) -> list[Comparison]:
    rng = np.random.default_rng(seed)
    comparisons = []
    for k in range(prompts):
        for a, b in combinations(strengths, 2):
            p = 1 / (1 + math.exp(strengths[b] - strengths[a]))
            comparisons.append(Comparison(f"q{k}", a, b, p if soft else float(rng.random() < p)))
    return comparisons


def test_strengths_are_the_log_odds_that_made_the_comparisons() -> None:
    ranking = rank(simulated({"base": -1.0, "sl": 0.0, "rl": 1.0}, 400, seed=1), resamples=100)
    assert [standing.name for standing in ranking.standings] == ["rl", "sl", "base"]
    for name, truth in (("base", -1.0), ("sl", 0.0), ("rl", 1.0)):
        assert ranking[name].low <= truth <= ranking[name].high
        assert ranking[name].elo_low <= ranking[name].elo <= ranking[name].elo_high
    assert ranking.differences["rl", "base"].excludes(0)
    assert ranking["rl"].comparisons == 800
    assert ranking["rl"].elo > ranking["sl"].elo > ranking["base"].elo


def test_soft_preferences_are_recovered_exactly_without_noise() -> None:
    ranking = rank(simulated({"a": -0.7, "b": 0.7}, 30, soft=True), prior=1e-9, resamples=20)
    assert ranking["b"].strength == pytest.approx(0.7, abs=1e-6)
    assert ranking["b"].win_rate == pytest.approx(1 / (1 + math.exp(-1.4)))


def test_two_systems_have_the_closed_form_of_two_counts() -> None:
    comparisons = [Comparison(f"q{k}", "a", "b", float(k < 7)) for k in range(10)]
    ranking = rank(comparisons, prior=1.0, resamples=20)
    assert ranking["a"].strength - ranking["b"].strength == pytest.approx(math.log(7.5 / 3.5))


def test_intervals_are_over_prompts_and_not_over_comparisons() -> None:
    """Repeating each comparison of a prompt adds no prompt, and must not narrow the interval."""
    once = [Comparison(f"q{k}", "a", "b", float(k % 3 > 0)) for k in range(30)]
    one, many = rank(once, resamples=200), rank(once * 10, resamples=200)
    width = [r["a"].high - r["a"].low for r in (one, many)]
    assert width[1] > 0.9 * width[0]


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    hits = 0
    for seed in range(60):
        a = rank(simulated({"a": 0.5, "b": 0.0}, 60, seed), resamples=100, prior=0.01)["a"]
        hits += a.low <= 0.25 <= a.high
    assert hits >= 51


def test_one_who_always_wins_has_a_finite_score() -> None:
    scores = response_scores([Comparison("q", "a", "b", 1.0), Comparison("q", "a", "c", 1.0)])
    assert all(map(math.isfinite, scores["q"].values()))
    assert scores["q"]["a"] > scores["q"]["b"] == pytest.approx(scores["q"]["c"])
    assert sum(scores["q"].values()) == pytest.approx(0)


def test_the_scores_of_a_prompt_do_not_depend_on_other_prompts() -> None:
    rng = np.random.default_rng(0)
    groups = [
        [Comparison(f"q{k}", a, b, float(rng.random())) for a, b in combinations("wxyz", 2)]
        for k in range(150)
    ]
    together = response_scores([one for group in groups for one in group])
    for k in (0, 63, 64, 149):
        alone = response_scores(groups[k])[f"q{k}"]
        assert together[f"q{k}"] == pytest.approx(alone, abs=1e-6)


def test_both_orders_of_a_biased_judge_cancel() -> None:
    """A judge who always says "the first" has no preference, and gives no pair."""
    always_first = [Comparison("q", a, b, 1.0) for a in "xyz" for b in "xyz" if a != b]
    scores = response_scores(always_first)
    assert all(value == pytest.approx(0, abs=1e-9) for value in scores["q"].values())
    assert pairs_with_margins(scores) == []


def test_pairs_have_the_margins_of_the_scores() -> None:
    scores = {"q": {"a": 2.0, "b": -1.5, "c": -0.5}, "draw": {"a": 0.0, "b": 0.0}}
    (pair,) = pairs_with_margins(scores)
    assert (pair.chosen, pair.rejected, pair.margin) == ("a", "b", 3.5)
    every = pairs_with_margins(scores, every=True, least=1.5, most=3.0)
    assert [(p.chosen, p.rejected, p.margin) for p in every] == [("a", "c", 2.5), ("a", "b", 3.0)]


def test_a_ranking_repeats_itself() -> None:
    comparisons = simulated({"a": 1.0, "b": 0.0, "c": 0.0}, 20)
    assert rank(comparisons, resamples=20) == rank(comparisons, resamples=20)


@pytest.mark.parametrize(
    ("comparisons", "message"),
    [
        ([], "no comparisons"),
        ([Comparison("q", "a", "b", float("nan"))], "preference nan: it is a probability"),
        ([Comparison("q", "a", "b", 1.5)], "preference 1.5"),
        ([Comparison("q", "a", "a", 1.0)], "with itself"),
        ([Comparison("q", "a", "b", 1.0), Comparison("q", "c", "d", 1.0)], "never compared"),
    ],
)
def test_comparisons_that_cannot_be_ranked(comparisons: list[Comparison], message: str) -> None:
    for function in (rank, response_scores):
        with pytest.raises(DataError, match=message):
            function(comparisons)


def test_chance_fails_the_control_and_a_consistent_judge_passes() -> None:
    strengths = {"a": 3.0, "b": 1.0, "c": -1.0, "d": -3.0}
    assert transitivity(simulated(strengths, 30)).passed is True
    chance = transitivity(simulated(dict.fromkeys("abcd", 0.0), 60))
    assert chance.passed is False
    assert chance.figures["circular"] == pytest.approx(0.25, abs=0.08)
    assert transitivity(simulated({"a": 1.0, "b": 0.0}, 60)).passed is None
    draws = [Comparison(one.prompt, one.first, one.second, 0.5) for one in simulated(strengths, 30)]
    assert transitivity(draws).passed is None
