"""What an optimizer step moves, and by how much."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["Movement", "fingerprints", "movements"]

_PART = 1 << 20


@dataclass(frozen=True)
class Movement:
    """One weight tensor across one step.

    Attributes:
        elements: Of the tensor.
        moved: Elements that changed.
        reached: Elements with a gradient other than 0.
        change: Root mean square of the change over the reached elements.
        size: Root mean square of the weights before.
        gradient: Norm of the gradient; None where there is none.
        dtype: Of the weights.
    """

    elements: int
    moved: int
    reached: int
    change: float
    size: float
    gradient: float | None
    dtype: str


@torch.no_grad()
def movements(
    trainable: dict[str, torch.nn.Parameter], before: dict[int, torch.Tensor]
) -> dict[str, Movement]:
    """Compare weights with a copy from before the step.

    Args:
        trainable: Weights by name, gradients still on them.
        before: Copies by the weight's id.
    """
    found = {}
    for name, weight in trainable.items():
        old = before[id(weight)]
        totals = torch.zeros(4, dtype=torch.float64)
        gradient = None if weight.grad is None else weight.grad.reshape(-1)
        # In parts: float copies of a large embedding would cost more than the step itself.
        for start in range(0, weight.numel(), _PART):
            part = slice(start, start + _PART)
            was = old.reshape(-1)[part].float()
            delta = weight.detach().reshape(-1)[part].float() - was
            mask = torch.zeros_like(was) != 0 if gradient is None else gradient[part] != 0
            totals += torch.tensor(
                [
                    float((delta != 0).sum()),
                    float(mask.sum()),
                    float((delta * mask).square().sum()),
                    float(was.square().sum()),
                ],
                dtype=torch.float64,
            )
        moved, reached, change, size = totals.tolist()
        found[name] = Movement(
            elements=weight.numel(),
            moved=int(moved),
            reached=int(reached),
            change=math.sqrt(change / reached) if reached else 0.0,
            size=math.sqrt(size / weight.numel()) if weight.numel() else 0.0,
            gradient=None if gradient is None else float(gradient.float().norm()),
            dtype=str(weight.dtype).removeprefix("torch."),
        )
    return found


def fingerprints(*models: Any) -> dict[str, int]:
    """Return checksums of the first model's frozen weights and of all of the others', by name."""
    from custodes.preflight.measure.checksum import checksum

    return {
        f"{place}:{name}": checksum(weight)
        for place, model in enumerate(models)
        if model is not None
        for name, weight in model.named_parameters()
        if place > 0 or not weight.requires_grad
    }
