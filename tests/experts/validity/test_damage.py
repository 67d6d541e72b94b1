"""Damages: each does what it says, and leaves alone what is too short to damage."""

from __future__ import annotations

import numpy as np

from custodes.experts.validity import damage

TEXT = "Put the egg in boiling water, wait eight minutes, and cool it before you peel it."


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_shuffled_words_are_the_same_words_in_another_order() -> None:
    out = damage.shuffled(TEXT, rng())

    assert out is not None
    assert out != TEXT
    assert sorted(out.split()) == sorted(TEXT.split())


def test_salad_keeps_the_length_and_takes_words_of_the_vocabulary() -> None:
    out = damage.word_salad(TEXT, ["one", "two", "three"], rng())

    assert out is not None
    assert len(out.split()) == len(TEXT.split())
    assert set(out.split()) <= {"one", "two", "three"}


def test_a_cut_ends_inside_a_sentence() -> None:
    for seed in range(20):
        out = damage.cut_off(TEXT, np.random.default_rng(seed))
        assert out is not None
        assert TEXT.startswith(out)
        assert len(out) < 0.75 * len(TEXT)
        assert out[-1] not in ".!?:;"


def test_an_echo_is_the_prompt_and_nothing_else() -> None:
    prompt = "How do I boil an egg?"
    for seed in range(10):
        assert set(damage.echo(prompt, TEXT, np.random.default_rng(seed)).split()) == set(
            prompt.split()
        )


def test_repeated_says_one_stretch_over_and_over() -> None:
    out = damage.repeated(TEXT, rng())

    assert out is not None
    assert len(set(out.split())) <= 8 < len(out.split())


def test_short_answers_are_left_alone() -> None:
    for short in ("", "Yes.", "Paris is nice."):
        assert damage.shuffled(short, rng()) is None
        assert damage.cut_off(short, rng()) is None
        assert damage.repeated(short, rng()) is None


def test_nobody_gets_an_answer_to_his_own_prompt() -> None:
    groups = ["a", "a", "b", "c", "a"] * 5
    others = damage.derangement(groups, rng())

    assert others is not None
    assert all(groups[i] != groups[other] for i, other in enumerate(others))
    assert damage.derangement(["a", "a"], rng()) is None
