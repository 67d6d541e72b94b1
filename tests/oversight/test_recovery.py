"""Recovery: planted damage is found and timed, and none is found where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from custodes.oversight.perturbations.recovery import recovery

Ratings = dict[int, dict[str, float]]


def series(
    steps: int = 60,
    n: int = 8,
    *,
    onset: int = 15,
    end: int = 30,
    drop: float = 0.0,
    seed: int = 0,
    pool: int = 200,
    fixed: bool = False,
) -> Ratings:
    """Draw ratings with a spread between prompts and one within, lowered from onset to end."""
    rng = np.random.default_rng(seed)
    prompts = rng.normal(0, 0.12, pool)
    ratings: Ratings = {}
    for step in range(steps):
        chosen = np.arange(n) if fixed else rng.permutation(pool)[:n]
        level = 0.6 + prompts[chosen] - (drop if onset <= step < end else 0.0)
        values = np.clip(level + rng.normal(0, 0.15, n), 0, 1)
        ratings[step] = {f"p{i}": float(v) for i, v in zip(chosen, values, strict=True)}
    return ratings


def flat(levels: dict[int, float], n: int = 8) -> Ratings:
    """Give every prompt of a step a rating close to the step's level."""
    spread = np.linspace(-0.02, 0.02, n)
    return {
        step: {f"p{step}.{i}": level + float(d) for i, d in enumerate(spread)}
        for step, level in levels.items()
    }


def test_planted_damage_is_timed() -> None:
    levels = {step: 0.4 if 10 <= step < 18 else 0.8 for step in range(30)}
    found = recovery(flat(levels), 10, 15)
    assert found.outcome == "recovered"
    assert (found.damaged_at, found.recovered_at) == (10, 18)
    assert (found.steps, found.steps_after_offset) == (8, 3)
    assert found.says == "recovered after 8 steps (+3 from its end)"
    assert found.before is not None
    assert found.after is not None
    assert found.before.mean == pytest.approx(0.8)
    assert found.before.low < 0.8 < found.before.high
    assert found.after.mean == pytest.approx(0.8)
    assert found.lowest == pytest.approx(0.4)
    assert found.shown


def test_recovery_before_the_perturbation_ends() -> None:
    levels = {step: 0.4 if 10 <= step < 13 else 0.8 for step in range(30)}
    found = recovery(flat(levels), 10, 20)
    assert (found.steps, found.steps_after_offset) == (3, -7)


def test_damage_that_comes_late_and_comes_back() -> None:
    levels = {step: 0.4 if 14 <= step < 17 or 22 <= step < 25 else 0.8 for step in range(40)}
    found = recovery(flat(levels), 10)
    assert (found.damaged_at, found.recovered_at, found.steps) == (14, 25, 15)
    assert found.steps_after_offset is None


def test_no_recovery() -> None:
    found = recovery(flat({step: 0.8 if step < 10 else 0.5 for step in range(20)}), 10, 14)
    assert found.outcome == "not_recovered"
    assert found.says == "not recovered by the end (9 steps later)"
    assert (found.steps, found.recovered_at, found.shown) == (9, None, False)


def test_back_to_within_the_margin_is_back() -> None:
    levels = {step: 0.4 if 10 <= step < 18 else 0.8 for step in range(30)}
    levels |= dict.fromkeys(range(18, 30), 0.77)
    assert recovery(flat(levels), 10, margin=0.05).recovered_at == 18
    assert recovery(flat(levels), 10, margin=0.01).outcome == "not_recovered"


def test_a_drop_within_the_margin_is_no_damage() -> None:
    levels = {step: 0.76 if step >= 10 else 0.8 for step in range(60)}
    assert recovery(flat(levels), 10, margin=0.05).outcome == "no_damage"
    assert recovery(flat(levels), 10, margin=0.02).outcome == "not_recovered"


def test_a_rise_is_no_damage() -> None:
    found = recovery(flat({step: 0.8 if step < 10 else 0.95 for step in range(20)}), 10)
    assert found.outcome == "no_damage"
    assert found.says.startswith("no damage seen (a drop of 0.0")


def test_steps_without_ratings_may_be_missing_or_empty() -> None:
    levels = {step: 0.4 if 10 <= step < 18 else 0.8 for step in range(0, 40, 2)}
    ratings: Ratings = {**flat(levels), 5: {}, 11: {}}
    found = recovery(ratings, 10, 16)
    assert (found.recovered_at, found.steps) == (18, 8)


@pytest.mark.parametrize(
    ("ratings", "said"),
    [
        ({}, "0 prompts were rated before it"),
        (flat({0: 0.8}, n=4) | flat({10: 0.5, 11: 0.5, 12: 0.5}), "4 prompts were rated before"),
        (flat({0: 0.8, 10: 0.5, 11: 0.5}), "no 3 rated steps in a row"),
        (flat({0: 0.8}) | flat({10: 0.5, 11: 0.5, 12: 0.5}, n=1), "no 3 rated steps in a row"),
    ],
)
def test_too_little_to_say(ratings: Ratings, said: str) -> None:
    found = recovery(ratings, 10)
    assert found.outcome == "unknown"
    assert said in found.says


def test_a_prompt_rated_often_counts_once() -> None:
    # Ten ratings of each of six prompts before it, and other prompts after it.
    rng = np.random.default_rng(0)
    often = {f"a{i}": float(v) for i, v in enumerate(rng.uniform(0.5, 1, 6))}
    other = {f"b{i}": float(v) for i, v in enumerate(rng.uniform(0.3, 0.8, 6))}
    ratings = {step: often if step < 10 else other for step in range(20)}
    renamed = {
        step: {f"{name}.{step}": v for name, v in given.items()} for step, given in ratings.items()
    }
    assert recovery(ratings, 10).outcome == "no_damage"
    assert recovery(renamed, 10).outcome == "not_recovered"


def test_prompts_seen_before_and_after_are_compared_with_themselves() -> None:
    rng = np.random.default_rng(0)
    levels = rng.uniform(0.3, 1, 8)
    ratings = {
        step: {f"p{i}": float(v) - (0.12 if step >= 10 else 0.0) for i, v in enumerate(levels)}
        for step in range(20)
    }
    shuffled = {
        step: given if step < 10 else {f"q{name}": v for name, v in given.items()}
        for step, given in ratings.items()
    }
    assert recovery(ratings, 10).outcome == "not_recovered"
    assert recovery(shuffled, 10).outcome == "no_damage"


def test_a_wrapped_prompt_counts_as_the_one_it_was_made_from() -> None:
    ratings = series(onset=10, fixed=True, drop=0.2)
    wrapped = {
        step: {f"{name}~typos" if step >= 10 else name: v for name, v in given.items()}
        for step, given in ratings.items()
    }
    assert recovery(wrapped, 10) == recovery(ratings, 10)


# Error rates, with room for chance: 200 runs each


@pytest.mark.parametrize("options", [{}, {"n": 3}, {"fixed": True}, {"pool": 12}])
def test_no_damage_is_seen_where_there_is_none(options: dict[str, int]) -> None:
    wrong = sum(
        recovery(series(40, seed=seed, **options), 15).outcome != "no_damage"  # type: ignore[arg-type]
        for seed in range(200)
    )
    # Nominally at most 5%; 20 or more of 200 has probability 0.002 at 5%.
    assert wrong < 20


def test_damage_is_seen_and_timed_where_there_is_some() -> None:
    found = [recovery(series(40, drop=0.3, seed=seed), 15, 30) for seed in range(100)]
    assert sum(one.outcome == "recovered" for one in found) >= 95
    late = [one.steps_after_offset for one in found if one.steps_after_offset is not None]
    assert np.median(late) == 0
    assert np.mean(np.abs(late) <= 1) > 0.8


def test_the_detectable_drop_is_detected_four_times_out_of_five() -> None:
    bar = np.mean([recovery(series(21, seed=seed), 18).detectable for seed in range(40)])
    seen = [
        recovery(series(21, onset=18, end=99, drop=float(bar), seed=seed), 18).outcome
        != "no_damage"
        for seed in range(200)
    ]
    assert 0.7 < np.mean(seen) < 0.92


# Properties


@given(
    st.dictionaries(
        st.integers(0, 30),
        st.dictionaries(st.integers(0, 12).map(str), st.floats(0, 1), max_size=8),
        max_size=30,
    ),
    st.integers(0, 30),
    st.none() | st.integers(1, 9),
    st.integers(1, 5),
    st.floats(0, 0.5),
)
def test_any_series_gets_a_coherent_answer(
    ratings: Ratings, onset: int, length: int | None, hold: int, margin: float
) -> None:
    offset = None if length is None else onset + length
    found = recovery(ratings, onset, offset, hold=hold, margin=margin)
    assert found == recovery(
        dict(reversed(ratings.items())), onset, offset, hold=hold, margin=margin
    )
    assert found.says
    assert (found.outcome == "unknown") == (found.before is None)
    assert (found.outcome == "recovered") == (found.recovered_at is not None)
    assert (found.damaged_at is None) == (found.outcome in ("unknown", "no_damage"))
    for level in (found.before, found.after):
        assert level is None or 0 <= level.low <= level.mean <= level.high <= 1
    if found.recovered_at is not None:
        assert found.damaged_at is not None
        assert found.before is not None
        assert found.after is not None
        assert onset <= found.damaged_at < found.recovered_at
        assert found.recovered_at in ratings
        assert found.steps == found.recovered_at - onset
        assert found.after.mean >= found.before.mean - margin - 1e-12
    if found.outcome != "unknown":
        assert found.detectable is not None
        assert found.detectable >= margin


@given(st.integers(0, 40), st.floats(0.1, 0.3))
def test_raising_all_later_ratings_never_makes_damage(seed: int, lift: float) -> None:
    ratings = series(30, seed=seed, drop=0.2, end=20)
    lifted = {
        step: {name: min(1.0, v + lift * (step >= 15)) for name, v in given.items()}
        for step, given in ratings.items()
    }
    before, after = recovery(ratings, 15), recovery(lifted, 15)
    assert before.lowest is not None
    assert after.lowest is not None
    assert after.lowest >= before.lowest - 1e-12


@pytest.mark.parametrize("options", [{"margin": -0.1}, {"hold": 0}, {"alpha": 0.0}, {"alpha": 0.6}])
def test_options_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        recovery({}, 0, **options)  # type: ignore[arg-type]


def test_abstentions_are_not_ratings() -> None:
    with pytest.raises(ValueError, match="not finite"):
        recovery({0: {"a": float("nan")}}, 1)
