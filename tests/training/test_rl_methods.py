"""GRPO, RLOO and DPO behind one function: the same rewards, the same result, preflight on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from custodes.conversation import Chat, user_chat
from custodes.errors import ConfigError
from custodes.training.rl.methods import train
from custodes.training.rl.options import PpoOptions, RlOptions

CHATS = [user_chat(f"Question {i}?") for i in range(8)]
QUICK = RlOptions(
    steps=2,
    batch=8,
    samples=4,
    max_tokens=6,
    learning_rate=1e-2,
    evaluate_every=2,
    preflight=False,
)


def vowels(_: Sequence[Chat], texts: Sequence[str]) -> list[float]:
    return [sum(c in "aeiou" for c in text) / max(len(text), 1) for text in texts]


@pytest.mark.parametrize("method", ["grpo", "rloo", "dpo"])
def test_every_method_gives_the_same_kind_of_result(method: str, lora: Any, tmp_path: Path) -> None:
    model = lora(rank=8, dtype="float32")
    known: dict[str, Any] = {"gold": vowels, "held_out": CHATS[6:]}
    result = train(method, model, vowels, CHATS[:6], tmp_path, QUICK, **known)
    assert result.method == method
    assert [e.step for e in result.evaluations] == [0, 2]
    assert len(result.series[f"{method}/grad_norm"]) == 2
    assert (result.adapter / "adapter_model.safetensors").is_file()
    assert list(model.model.peft_config) == ["default"]
    assert "forward" not in model.model.get_base_model().__dict__
    json.dumps(result.metrics(), allow_nan=False)
    names = {control.name: control.passed for control in result.controls}
    assert names[f"{method} checkpoint reloads"]
    assert names[f"{method} has a gradient"]

    def never(*_: Any) -> list[float]:
        raise AssertionError("a finished training is not repeated")

    fresh = lora(rank=8, dtype="float32")
    again = train(method, fresh, never, CHATS[:6], tmp_path, QUICK, **known)
    assert again.metrics() == result.metrics()


@pytest.mark.parametrize(
    ("change", "caught"),
    [
        ({}, set()),
        ({"reward_sign": -1}, {"reward-weights", "advantage-sign"}),
        ({"kl_sign": -1}, {"beta-sign", "kl-sign"}),
    ],
    ids=["right", "reward", "kl"],
)
def test_preflight_catches_flipped_signs(
    change: dict[str, Any], caught: set[str], lora: Any, tmp_path: Path
) -> None:
    settings = replace(QUICK, steps=1, max_tokens=12, preflight=True, **change)
    result = train("grpo", lora(rank=8, dtype="float32"), vowels, CHATS, tmp_path, settings)
    (control,) = (c for c in result.controls if c.name == "grpo preflight")
    assert caught <= set(control.figures["failed"]), control.explanation
    assert control.passed is (not caught), control.explanation


def test_unknown_methods_and_options_of_another_are_named(lora: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no method is called 'gppo': did you mean"):
        train("gppo", lora(), vowels, CHATS, tmp_path, QUICK)
    with pytest.raises(ConfigError, match="give RlOptions"):
        train("rloo", lora(), vowels, CHATS, tmp_path, PpoOptions())
    with pytest.raises(ConfigError, match="give PpoOptions"):
        train("ppo", lora(), vowels, CHATS, tmp_path, QUICK)
