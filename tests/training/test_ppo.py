"""PPO on a tiny model: it learns what it is told, says what went wrong, and survives a kill."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from custodes.control import Control
from custodes.conversation import Chat, user_chat
from custodes.errors import ConfigError, CustodesError, RunError
from custodes.models.base import Sampling, Usage
from custodes.training.packing import Sequences
from custodes.training.ppo import PpoOptions, train
from custodes.training.rl.policy import Policy
from custodes.training.rl.rewards import rewards_of
from custodes.training.rl.rollouts import own_samples_control

CHATS = [user_chat(f"Question {i}?") for i in range(12)]
TRAIN, HELD_OUT = CHATS[:8], CHATS[8:]
QUICK = PpoOptions(
    steps=2,
    batch=8,
    samples=2,
    max_tokens=4,
    learning_rate=1e-2,
    evaluate_every=1,
    preflight=False,
)
# Enough to learn from: about three seconds.
LEARN = replace(QUICK, steps=12, batch=64, samples=16, epochs=4, evaluate_every=12, beta=0.02)


def vowels(_: Sequence[Chat], texts: Sequence[str]) -> list[float]:
    return [sum(c in "aeiou" for c in text) / max(len(text), 1) for text in texts]


@pytest.fixture
def model(lora: Any) -> Any:
    return lambda: lora(rank=8, dtype="float32")


def status(result: Any) -> dict[str, Control]:
    return {control.name: control for control in result.controls}


def test_the_policy_scores_as_a_plain_forward_pass_does(lora: Any) -> None:
    """Shared prompts, one row for several completions, temperature: each from its definition."""
    model = lora(dtype="float32")
    for _, a, b, _ in model.matrices():
        b.data.normal_(std=0.05, generator=torch.Generator().manual_seed(a.numel()))
    policy = Policy(model, temperature=0.7)
    torch.manual_seed(1)
    policy.value[0].data.normal_()
    policy.value[1].data.fill_(0.3)
    one, two = (5, 6, 7, 8), (9, 10)
    sequences = Sequences(
        [one, two, one, one], [(11, 12, 13), (14,), (15, 16, 17, 18, 19), (11, 2)]
    )
    scores = policy.score(sequences, budget=12)
    for i, (prompt, completion) in enumerate(
        zip(sequences.prompts, sequences.completions, strict=True)
    ):
        out = model.model(
            input_ids=torch.tensor([[*prompt, *completion]]), output_hidden_states=True
        )
        at = slice(len(prompt) - 1, -1)
        nats = torch.log_softmax(out.logits[0, at] / 0.7, -1)
        own = nats.gather(1, torch.tensor(completion)[:, None])[:, 0]
        entropy = -(nats.exp() * nats).sum(-1)
        spread = (nats.exp() * (nats + entropy[:, None]) ** 2).sum(-1)
        values = out.hidden_states[-1][0, at] @ policy.value[0] + policy.value[1]
        n = len(completion)
        for ours, plain in (
            (scores.logprobs, own),
            (scores.entropy, entropy),
            (scores.variance, spread),
            (scores.values, values),
        ):
            torch.testing.assert_close(ours[i, :n], plain.detach(), rtol=1e-4, atol=1e-4)
            assert float(ours[i, n:].abs().sum()) == 0


def test_gradients_are_those_of_a_plain_forward_pass(lora: Any) -> None:
    model = lora(dtype="float32")
    policy = Policy(model, temperature=0.7)
    sequences = Sequences([(5, 6, 7), (5, 6, 7)], [(8, 9), (10, 11, 12)])
    weights = torch.tensor([[1.0, -2.0, 0.0], [0.5, 3.0, -1.0]])
    with policy.training():
        (policy.forward(sequences).logprobs * weights).sum().backward()
    ours = [w.grad.clone() for w in policy.adapter]
    for w in policy.adapter:
        w.grad = None
    total = torch.zeros(())
    for i, (prompt, completion) in enumerate(
        zip(sequences.prompts, sequences.completions, strict=True)
    ):
        logits = model.model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0]
        nats = torch.log_softmax(logits[len(prompt) - 1 : -1] / 0.7, -1)
        own = nats.gather(1, torch.tensor(completion)[:, None])[:, 0]
        total = total + (own * weights[i, : len(completion)]).sum()
    total.backward()
    for mine, weight in zip(ours, policy.adapter, strict=True):
        torch.testing.assert_close(mine, weight.grad, rtol=1e-3, atol=1e-5)


def test_reference_and_merged_weights_are_put_back(lora: Any) -> None:
    model = lora(dtype="float32")
    policy = Policy(model, temperature=1.0)
    sequences = Sequences([(5, 6)], [(7, 8, 9)])
    before = policy.score(sequences).logprobs
    base = [module.weight.clone() for module, *_ in model.matrices()]
    for _, _, b, _ in model.matrices():
        b.data.fill_(0.02)
    after = policy.score(sequences).logprobs
    assert float((after - before).abs().max()) > 1e-3
    with policy.as_reference():
        torch.testing.assert_close(policy.score(sequences).logprobs, before, rtol=0, atol=0)
    with policy.merged():
        merged = model.base.model(input_ids=torch.tensor([[5, 6, 7, 8, 9]])).logits[0, 1:-1]
    own = torch.log_softmax(merged, -1).gather(1, torch.tensor([[7], [8], [9]]))[:, 0]
    torch.testing.assert_close(own, after[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(policy.score(sequences).logprobs, after, rtol=0, atol=0)
    assert all(
        torch.equal(module.weight, old)
        for (module, *_), old in zip(model.matrices(), base, strict=True)
    )


@pytest.fixture(scope="module")
def runs(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One training for each cell of the sign flips that is looked at."""
    from custodes.models.torch import TorchModel
    from custodes.training.lora import LoraModel, LoraOptions

    results = {}
    for name, change in {
        "normal": {},
        "reward": {"reward_sign": -1},
        "kl": {"kl_sign": -1, "beta": 0.3},
    }.items():
        base = TorchModel(tiny_model_dir, name="tiny", dtype="float32")
        policy = LoraModel(base, None, LoraOptions(8, 16.0), 0)
        settings = replace(LEARN, preflight=True, **change)  # type: ignore[arg-type]
        folder = tmp_path_factory.mktemp(name)
        results[name] = train(policy, vowels, TRAIN, folder, settings, held_out=HELD_OUT * 8)
    return results


def test_it_learns(runs: dict[str, Any]) -> None:
    result = runs["normal"]
    scores = result.series["objective/score"]
    assert np.mean(scores[-3:]) > np.mean(scores[:3]) + 0.1
    assert result.series["objective/kl"][0] == pytest.approx(0, abs=1e-4)
    assert 0 < result.series["objective/kl"][-1] < 100
    assert not [c.name for c in result.controls if c.passed is False]
    assert result.moved.total > 0
    json.dumps(result.metrics(), allow_nan=False)


def test_the_flipped_reward_lowers_it_and_is_caught(runs: dict[str, Any]) -> None:
    result = runs["reward"]
    scores = result.series["objective/score"]
    assert np.mean(scores[-3:]) < np.mean(scores[:3]) - 0.03
    controls = status(result)
    assert {"advantage-sign", "step-helps"} <= set(controls["ppo preflight"].figures["failed"])
    assert controls["ppo raises the reward"].passed is False


def test_the_flipped_kl_runs_away_and_is_caught(runs: dict[str, Any]) -> None:
    normal, flipped = (runs[name].series["objective/kl"][-1] for name in ("normal", "kl"))
    assert flipped > 1.5 * normal
    assert status(runs["kl"])["ppo preflight"].figures["failed"] == ["kl-sign"]
    assert status(runs["normal"])["ppo preflight"].figures["failed"] == []


def test_a_reward_against_gold_is_caught(model: Any, tmp_path: Path) -> None:
    result = train(
        model(),
        lambda chats, texts: [-v for v in vowels(chats, texts)],
        TRAIN,
        tmp_path,
        replace(QUICK, batch=32, samples=8, steps=1, preflight=True),
        gold=vowels,
        held_out=HELD_OUT,
    )
    failed = status(result)["ppo preflight"].figures["failed"]
    assert failed == ["reward-agrees-with-expert"]


def test_a_kill_loses_at_most_one_interval(model: Any, tmp_path: Path) -> None:
    settings = replace(QUICK, steps=5, evaluate_every=2, minibatches=2, target_kl=1.0)
    calls = 0

    class Killed(BaseException):
        pass

    def dies(chats: Sequence[Chat], texts: Sequence[str]) -> list[float]:
        nonlocal calls
        calls += 1
        if calls == 6:  # Held-out, 2 steps, held-out, 1 step: in the fourth.
            raise Killed
        return vowels(chats, texts)

    known: dict[str, Any] = {"gold": vowels, "held_out": HELD_OUT}
    whole = train(model(), vowels, TRAIN, tmp_path / "whole", settings, **known)
    with pytest.raises(Killed):
        train(model(), dies, TRAIN, tmp_path / "killed", settings, **known)
    seen: list[int] = []
    resumed = train(
        model(),
        vowels,
        TRAIN,
        tmp_path / "killed",
        settings,
        **known,
        progress=lambda _, done, __: seen.append(done),
    )
    assert seen[0] == 2
    assert resumed.metrics() == whole.metrics()
    for name in (
        "adapter/adapter_model.safetensors",
        "adapter/adapter_config.json",
        "steps.jsonl",
        "evaluations.jsonl",
        "state.safetensors",
    ):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    again = train(model(), dies, TRAIN, tmp_path / "whole", settings, **known)
    assert again.metrics() == whole.metrics()
    assert [c.to_dict() for c in again.controls] == [c.to_dict() for c in whole.controls]
    with pytest.raises(RunError, match="holds another training"):
        train(model(), vowels, TRAIN, tmp_path / "whole", replace(settings, beta=0.1), **known)
    (tmp_path / "whole" / "state.safetensors").write_bytes(b"x")
    with pytest.raises(RunError, match=r"state\.safetensors is damaged"):
        train(model(), vowels, TRAIN, tmp_path / "whole", settings, **known)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (lambda c, t: [math.nan] * len(t), r"<lambda> returned nan for completion 0"),
        (lambda c, t: [1.0, None], r"returned None for completion 1 \('two'\)"),
        (lambda c, t: [1.0], r"returned 1 values for 2 completions: return one float"),
        (lambda c, t: [1.0, "good"], r"returned 'good', which is no number, for completion 1"),
        (lambda c, t: 3.0, r"returned float: return a list of floats"),
        (lambda c, t: {}["x"], r"failed \(KeyError: 'x'\)"),
        (lambda c, t: [1.0, -math.inf], r"returned -inf for completion 1"),
    ],
)
def test_a_reward_that_is_none_is_named(reward: Any, message: str) -> None:
    with pytest.raises(CustodesError, match=message):
        rewards_of(reward, [CHATS[0]] * 2, ["one", "two"])


def test_rewards_of_any_number_type_are_taken() -> None:
    values = [torch.tensor(0.5), np.float32(1.0)]
    assert rewards_of(lambda c, t: values, [CHATS[0]] * 2, ["a", "b"]).tolist() == [0.5, 1.0]


def test_options_that_do_not_fit_are_named(model: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="8 completions a step are no multiple of 3 samples"):
        train(model(), vowels, TRAIN, tmp_path, replace(QUICK, samples=3))
    with pytest.raises(ConfigError, match="there are no prompts"):
        train(model(), vowels, [], tmp_path, QUICK)
    with pytest.raises(ConfigError, match="gold needs prompts of its own: give held_out"):
        train(model(), vowels, TRAIN, tmp_path, QUICK, gold=vowels)


def test_samples_at_another_temperature_are_caught(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from custodes.training.rl import rollouts

    right = rollouts.sample_tokens

    def sharper(model: Any, tokenizer: Any, prompts: Any, sampling: Sampling, ends: Any) -> Any:
        return right(model, tokenizer, prompts, replace(sampling, temperature=0.5), ends)

    monkeypatch.setattr(rollouts, "sample_tokens", sharper)
    settings = replace(QUICK, batch=32, max_tokens=8)
    result = train(model(), vowels, TRAIN, tmp_path, settings, held_out=HELD_OUT)
    control = status(result)["ppo samples from its policy"]
    assert control.passed is False
    assert control.figures["wrong"] == 2


def test_a_small_gap_or_chance_is_no_alarm() -> None:
    assert own_samples_control([0.01, 0.4], [9.0, 2.0], "torch").passed
    assert own_samples_control([0.01, 0.4], [9.0, 9.0], "torch").passed is False


class Texts:
    """An engine that gives texts and no log-probabilities."""

    engine, version, name = "fake", "1", "fake"

    def __init__(self, text: str) -> None:
        self.text, self.usage = text, Usage()

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
        return [[self.text] * sampling.n for _ in chats]


def test_another_engine_samples_and_is_checked(model: Any, tmp_path: Path) -> None:
    adapters = []

    def make(folder: Path) -> Any:
        adapters.append((folder / "adapter_model.safetensors").is_file())
        return Texts("bread")

    settings = replace(QUICK, max_tokens=12)
    result = train(model(), vowels, TRAIN, tmp_path, settings, held_out=HELD_OUT, sampler=make)
    assert adapters == [True] * 5
    controls = status(result)
    agree = controls["ppo samplers agree"]
    assert agree.passed is None
    assert agree.explanation == "the fake engine gives no log-probabilities"
    # It always says the same, which the policy would not.
    assert controls["ppo samples from its policy"].passed is False


def test_the_torch_engine_gives_the_tokens_it_sampled(
    model: Any, tiny_model_dir: Path, tmp_path: Path
) -> None:
    """Through its texts a random model's samples come back as other tokens, far from its own."""
    from custodes.models.resolve import load

    loads = []

    def make(folder: Path) -> Any:
        loads.append(folder)
        return load(str(tiny_model_dir), engine="torch", adapter=folder)

    settings = replace(QUICK, batch=16, max_tokens=12)
    result = train(model(), vowels, TRAIN, tmp_path, settings, held_out=HELD_OUT, sampler=make)
    control = status(result)["ppo samples from its policy"]
    assert control.passed, control.explanation
    assert len(loads) == 1
    assert not loads[0].exists()


def test_a_reward_that_never_varies_is_caught(model: Any, tmp_path: Path) -> None:
    settings = replace(QUICK, preflight=True)
    result = train(model(), lambda c, t: [1.0] * len(t), TRAIN, tmp_path, settings)
    assert "reward-varies" in status(result)["ppo preflight"].figures["failed"]


def test_a_loss_that_is_no_number_stops_it(model: Any, tmp_path: Path) -> None:
    policy = model()
    policy.matrices()[0][2].data[0, 0] = float("nan")
    with pytest.raises(CustodesError, match="gradient's norm is nan: lower its learning_rate"):
        train(policy, vowels, TRAIN, tmp_path, QUICK)
