"""An optimizer's state, copied and put back, so that a step can be taken again."""

from __future__ import annotations

import copy
from typing import Any

import torch

__all__ = ["optimizer_state", "reset"]


def optimizer_state(optimizer: Any) -> tuple[dict[Any, Any], list[dict[str, Any]]]:
    """Copy an optimizer's moments and the settings of its groups."""
    state = {
        key: {
            k: v.clone() if isinstance(v, torch.Tensor) else copy.copy(v) for k, v in value.items()
        }
        for key, value in optimizer.state.items()
        if isinstance(value, dict)
    }
    groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    return state, groups


@torch.no_grad()
def reset(
    optimizer: Any,
    state: tuple[dict[Any, Any], list[dict[str, Any]]],
    weights: dict[str, torch.nn.Parameter],
    before: dict[int, torch.Tensor],
) -> None:
    """Put weights and the optimizer's state back to before the step; gradients stay."""
    for weight in weights.values():
        weight.data.copy_(before[id(weight)])
    optimizer.state.clear()
    for key, value in state[0].items():
        optimizer.state[key] = {
            k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in value.items()
        }
    for group, kept in zip(optimizer.param_groups, state[1], strict=True):
        group.update(kept)
