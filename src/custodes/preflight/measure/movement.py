"""What an optimizer step moves, and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["Movement", "fingerprints", "movements"]


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
        delta = weight.detach().float() - old.float()
        reached = weight.grad is not None
        mask = torch.zeros_like(old) != 0 if weight.grad is None else weight.grad != 0
        count = int(mask.sum())
        inside = delta[mask.to(delta.device)] if count else delta.reshape(-1)[:0]
        found[name] = Movement(
            elements=weight.numel(),
            moved=int((delta != 0).sum()),
            reached=count,
            change=float(inside.square().mean().sqrt()) if count else 0.0,
            size=float(old.float().square().mean().sqrt()) if old.numel() else 0.0,
            gradient=float(weight.grad.float().norm()) if reached else None,  # type: ignore[union-attr]
            dtype=str(weight.dtype).removeprefix("torch."),
        )
    return found


def fingerprints(*models: Any) -> dict[str, int]:
    """Return a checksum of each frozen weight of some models, by place and name."""
    from custodes.preflight.measure.snapshot import checksum

    return {
        f"{place}:{name}": checksum(weight)
        for place, model in enumerate(models)
        if model is not None
        for name, weight in model.named_parameters()
        if not weight.requires_grad
    }
