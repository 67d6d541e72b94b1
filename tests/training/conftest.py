"""A tiny model to train, and a little to learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from custodes.conversation import Demonstration, PreferencePair, user_chat
from custodes.training.lora import LoraModel, LoraOptions

Make = Callable[..., LoraModel]

ANSWERS = [
    "Mix flour, water and salt, wait, then bake it.",
    "I am sorry, but I cannot help with that.",
    "The sea is wide, the sea is blue.",
]


@pytest.fixture
def lora(tiny_model_dir: Path) -> Make:
    """Make a LoRA model on the tiny base, which is loaded anew each time."""
    from custodes.models.torch import TorchModel

    def make(
        adapter: Path | None = None, *, rank: int = 4, seed: int = 0, dtype: str = "bfloat16"
    ) -> LoraModel:
        base = TorchModel(tiny_model_dir, name="tiny", dtype=dtype)
        return LoraModel(base, adapter, LoraOptions(rank=rank, alpha=2.0 * rank), seed)

    return make


@pytest.fixture
def pairs() -> list[PreferencePair]:
    """Ten pairs with prompts and answers of different lengths."""
    return [
        PreferencePair(
            f"pair-{i}",
            tuple(user_chat("How do I bake " + "bread " * (1 + i % 4) + "at home?")),
            ANSWERS[i % 2],
            ANSWERS[2] + " No." * (i % 3),
        )
        for i in range(10)
    ]


@pytest.fixture
def rows(pairs: list[PreferencePair]) -> list[Demonstration]:
    """The chosen answers of the pairs."""
    return [Demonstration(pair.id, pair.prompt, pair.chosen) for pair in pairs]
