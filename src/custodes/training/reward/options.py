"""How a reward model is fitted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from custodes.training.lora import LoraOptions

__all__ = ["RewardOptions"]


@dataclass(frozen=True)
class RewardOptions:
    """A reward model.

    Attributes:
        epochs: Passes over the training pairs.
        batch: Pairs a step.
        learning_rate: Learning rate of the adapter at the first step; it falls linearly to 0.
        max_length: Longest prompt and answer together, in tokens; the answer is cut there.
        layers: Blocks of the base that are used, from the bottom; 0 uses all. Fewer cost less, and
            the middle of a small model knows more about an answer than its end.
        held_out: Share of the prompts that accuracy and calibration are measured on, in (0, 1).
        shuffled_twin: The twin with labels put in order by chance: "trained" like the model,
            at the same cost; "frozen", a head on the frozen base, which is cheap; or "off".
        lora: Shape of the adapter.
        seed: Splits prompts, shuffles batches, initialises adapter and head.
    """

    epochs: Annotated[int, Field(ge=1)] = 1
    batch: Annotated[int, Field(ge=1)] = 8
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-4
    max_length: Annotated[int, Field(ge=8)] = 384
    layers: Annotated[int, Field(ge=0)] = 0
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.2
    shuffled_twin: Literal["trained", "frozen", "off"] = "trained"
    lora: LoraOptions = field(default_factory=LoraOptions)
    seed: int = 0
