"""The simulated Worker: its encoding, its randomness and its dynamics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from custodes.conversation import user_chat
from custodes.errors import ConfigError, ModelError
from custodes.models.base import LanguageModel, Sampling
from custodes.models.simulated import (
    JAILBREAK,
    Dynamics,
    SimulatedModel,
    SimulatedState,
    next_state,
    noisy_state,
    parse_simulated,
    read_levels,
    write_levels,
)

CHATS = [user_chat(f"question {i}") for i in range(2000)]
STILL = Dynamics(noise=0)


def logit(p: np.ndarray | float) -> np.ndarray:
    return np.log(np.asarray(p) / (1 - np.asarray(p)))


def test_the_texts_spell_the_levels() -> None:
    model = SimulatedModel()
    assert isinstance(model, LanguageModel)
    sampling = Sampling(n=3)
    read = [[read_levels(text) for text in row] for row in model.generate(CHATS, sampling)]
    np.testing.assert_allclose(read, model.levels(CHATS, sampling), atol=0.0005)
    assert model.generate([], sampling) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[simulated] helpful=0.731 harmful=0.120 ",
        "[simulated] helpful=0.731 harmful=0.120\n",
        "[simulated] helpful=1.900 harmful=0.120",
        "[simulated] helpful=0.73 harmful=0.120",
        "[simulated] helpful=٠.731 harmful=0.120",
        "say: [simulated] helpful=0.731 harmful=0.120",
    ],
)
def test_nothing_else_is_read(text: str) -> None:
    assert read_levels(text) is None


@pytest.mark.parametrize("level", [0.0, 1.0, 0.9999])
def test_the_ends_are_read(level: float) -> None:
    assert read_levels(write_levels(level, level)) == (round(level, 3), round(level, 3))


def test_a_response_depends_on_nothing_else_in_its_batch() -> None:
    model = SimulatedModel()
    whole = model.generate(CHATS[:20], Sampling(n=4))
    assert model.generate(CHATS[:20][::-1], Sampling(n=4)) == whole[::-1]
    assert model.generate(CHATS[3:5], Sampling(n=2)) == [row[:2] for row in whole[3:5]]
    # Equal prompts are separate samples, as they are of a language model.
    twice = model.generate([CHATS[0], CHATS[0]], Sampling(n=2))
    assert [*twice[0], *twice[1]] == whole[0]
    assert model.generate(CHATS[:20], Sampling(n=4, seed=1)) != whole


def test_levels_are_distributed_as_documented() -> None:
    state = SimulatedState(helpful=0.7, harmful=0.2, spread=0.5, difficulty=1.0)
    levels = logit(SimulatedModel(state).levels(CHATS, Sampling(n=8, temperature=1)))
    # 2000 prompts: standard errors of the mean are 0.022, of the deviations about 0.016 and 0.004.
    np.testing.assert_allclose(levels.mean((0, 1)), logit([0.7, 0.2]), atol=0.1)
    np.testing.assert_allclose(levels.std(1, ddof=1).mean(0) / 0.9650, 0.5, atol=0.02)
    np.testing.assert_allclose(levels.mean(1).std(0), np.sqrt(1 + 0.25 / 8), atol=0.07)
    # The two propensities, and the draws, are independent.
    within = levels - levels.mean(1, keepdims=True)
    assert abs(np.corrcoef(within[..., 0].ravel(), within[..., 1].ravel())[0, 1]) < 0.04
    assert abs(np.corrcoef(within[:, 0, 0], within[:, 1, 0])[0, 1] + 1 / 7) < 0.1


def test_a_prompt_is_as_difficult_at_every_checkpoint_but_draws_are_new() -> None:
    first = SimulatedModel(SimulatedState(helpful=0.6))
    second = SimulatedModel(SimulatedState(helpful=0.8))
    greedy = Sampling(temperature=0)
    shift = logit(second.levels(CHATS, greedy)) - logit(first.levels(CHATS, greedy))
    np.testing.assert_allclose(shift[..., 0], logit(0.8) - logit(0.6), atol=1e-9)
    np.testing.assert_allclose(shift[..., 1], 0, atol=1e-9)
    one, two = (
        logit(model.levels(CHATS, Sampling())) - logit(model.levels(CHATS, greedy))
        for model in (first, second)
    )
    assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.08


def test_the_version_is_of_all_that_answers_depend_on() -> None:
    states = [
        SimulatedState(),
        SimulatedState(helpful=0.61),
        SimulatedState(harmful=0.31),
        SimulatedState(spread=0.9),
        SimulatedState(difficulty=0.9),
    ]
    assert len({SimulatedModel(state).version for state in states}) == 5
    taught = replace(SimulatedState(), helpfulness_retrains=1)
    assert SimulatedModel(taught).version == SimulatedModel().version


def test_retraining_moves_both_propensities() -> None:
    state = SimulatedState(helpful=0.5, harmful=0.5)
    dynamics = Dynamics(gain=1.0, tax=0.25, fade=0.5, noise=0)
    one = next_state(state, "harmlessness", dynamics, 0)
    assert (float(logit(one.harmful)), float(logit(one.helpful))) == pytest.approx((-1, -0.25))
    two = next_state(one, "harmlessness", dynamics, 0)
    assert float(logit(two.harmful)) == pytest.approx(-1.5)
    three = next_state(two, "helpfulness", dynamics, 0)
    assert float(logit(three.helpful)) == pytest.approx(-0.375 + 1)
    assert float(logit(three.harmful)) == pytest.approx(-1.5 + 0.25)
    assert (three.helpfulness_retrains, three.harmlessness_retrains) == (1, 2)


def test_a_jailbreak_raises_harm_by_the_documented_amount_and_nothing_else() -> None:
    model = SimulatedModel()
    wrapped = [i % 2 == 0 for i in range(len(CHATS))]
    plain, attacked = (
        logit(model.levels(CHATS, Sampling(n=2), wrapped=given)) for given in (None, wrapped)
    )
    np.testing.assert_allclose(attacked[::2, :, 1] - plain[::2, :, 1], JAILBREAK)
    np.testing.assert_allclose(attacked[1::2], plain[1::2])
    np.testing.assert_allclose(attacked[..., 0], plain[..., 0])


def test_noise_on_the_state_has_the_given_deviation_and_counts_no_retrain() -> None:
    state = SimulatedState(helpful=0.5, harmful=0.5, helpfulness_retrains=2)
    noisy = [noisy_state(state, 0.5, seed) for seed in range(400)]
    moved = logit(np.array([(s.helpful, s.harmful) for s in noisy]))
    np.testing.assert_allclose(moved.std(0), 0.5, atol=0.06)
    assert noisy_state(state, 0.5, 3) == noisy[3]
    assert {s.helpfulness_retrains for s in noisy} == {2}


def test_noise_comes_from_the_seed() -> None:
    noisy = Dynamics(gain=0, noise=0.5)
    states = [
        next_state(SimulatedState(0.5, 0.5), "helpfulness", noisy, seed) for seed in range(400)
    ]
    assert next_state(SimulatedState(0.5, 0.5), "helpfulness", noisy, 3) == states[3]
    moved = logit(np.array([(s.helpful, s.harmful) for s in states]))
    np.testing.assert_allclose(moved.std(0), 0.5, atol=0.06)
    np.testing.assert_allclose(moved.mean(0), 0, atol=0.1)


def test_a_propensity_never_leaves_where_a_way_back_exists() -> None:
    state = SimulatedState()
    for seed in range(50):
        state = next_state(state, "harmlessness", Dynamics(gain=10, fade=1), seed)
    assert 0 < state.harmful < 0.001
    assert next_state(state, "helpfulness", Dynamics(gain=10), 0).helpful > 0.5


def test_a_checkpoint_comes_back_from_its_folder(tmp_path: Path) -> None:
    state = next_state(SimulatedState(), "helpfulness", Dynamics(), 0)
    state.save(tmp_path / "1")
    base = SimulatedModel(name="simulated:spread=0.2")
    loaded = base.with_adapter(tmp_path / "1")
    assert loaded.state == state
    assert loaded.version == SimulatedModel(state).version
    with pytest.raises(ModelError, match="no simulated checkpoint"):
        base.with_adapter(tmp_path)
    (tmp_path / "1" / "simulated.json").write_text('{"helpful": 2}')
    with pytest.raises(ModelError, match="helpful: Input should be less than 1"):
        base.with_adapter(tmp_path / "1")


def test_it_is_named_by_its_fields() -> None:
    assert parse_simulated("simulated") == SimulatedState()
    state = parse_simulated("simulated:helpful=0.9,spread=0")
    assert state == SimulatedState(helpful=0.9, spread=0)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("simulated:helpfull=0.9", "did you mean helpful"),
        ("simulated:helpful=1", "less than 1"),
        ("simulated:helpful=much", "valid number"),
        ("simulated:spread=-1", "greater than or equal to 0"),
        ("simulation", "names no simulated model"),
    ],
)
def test_a_wrong_name_is_one_line(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_simulated(name)


def test_an_unknown_domain_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean harmlessness"):
        next_state(SimulatedState(), "harmlesness", STILL, 0)
