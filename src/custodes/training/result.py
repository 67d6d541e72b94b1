"""What a training measured, and the controls that would have exposed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from custodes.control import Control
from custodes.training.lora import Moved

__all__ = ["TrainResult", "gradient_control", "significant"]


@dataclass(frozen=True)
class TrainResult:
    """One training of one method.

    Attributes:
        method: "sft" or "dpo".
        rows: Examples it trained on.
        left_out: Examples that could not be used (see `encode_examples`).
        tokens: Tokens in them, prompts included, each counted once an epoch.
        trainable: Weights that could change.
        data: SHA-256 of the token ids, in the order of training.
        series: By name, a figure for each step: ``loss``, ``grad_norm``, and what the method adds.
        moved: How far the weights moved.
        controls: What would have exposed a training that did not work.
        seconds: How long it took; no part of `metrics`, which are the same for the same input.
    """

    method: str
    rows: int
    left_out: int
    tokens: int
    trainable: int
    data: str
    series: Mapping[str, Sequence[float]]
    moved: Moved
    controls: Sequence[Control]
    seconds: float

    def metrics(self) -> dict[str, Any]:
        """Return what is deterministic, JSON-ready; the controls apart."""
        return {
            "rows": self.rows,
            "left_out": self.left_out,
            "tokens": self.tokens,
            "trainable": self.trainable,
            "data": self.data,
            **{name: [round(value, 5) for value in row] for name, row in self.series.items()},
            "weights_moved": significant(self.moved.total),
            "weights_moved_most": {
                "where": self.moved.where,
                "by": significant(self.moved.largest),
            },
        }


def gradient_control(method: str, norms: Sequence[float], trainable: int) -> Control:
    """Check that every step had a gradient, and that there are weights to train.

    Args:
        method: "sft" or "dpo".
        norms: The gradient's norm at each step.
        trainable: Number of trainable weights.
    """
    zero = sum(norm == 0 for norm in norms)
    return Control(
        f"{method} has a gradient",
        trainable > 0 and zero == 0,
        f"the gradient is zero at {zero} of {len(norms)} steps, over {trainable} trainable weights "
        "(must be zero at no step, over at least one weight)",
        {"zero_steps": zero, "steps": len(norms), "trainable": trainable},
    )


def significant(value: float) -> float:
    """Round to four significant digits."""
    return float(f"{value:.4g}")
