"""What a training needs to go on after a kill: tensors and figures, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from custodes.errors import RunError
from custodes.runs.files import dumps, explain_disk, write_atomic

if TYPE_CHECKING:
    import torch

__all__ = [
    "load_optimizer",
    "optimizer_tensors",
    "read_rows",
    "read_state",
    "write_rows",
    "write_state",
]


def write_state(path: Path, tensors: Mapping[str, torch.Tensor], figures: Any) -> None:
    """Write tensors and JSON-ready figures into one safetensors file, atomically."""
    from safetensors.torch import save

    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, save(whole, {"figures": dumps(figures)}))


def read_state(path: Path, device: Any) -> tuple[dict[str, torch.Tensor], Any] | None:
    """Read what `write_state` wrote; None if there is nothing.

    Raises:
        RunError: The file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with explain_disk(path), safe_open(str(path), "pt", device=str(device)) as file:
            figures = json.loads(file.metadata()["figures"])
            return {name: file.get_tensor(name) for name in file.keys()}, figures  # noqa: SIM118
    except (SafetensorError, ValueError, KeyError, TypeError):
        raise RunError(f"{path} is damaged", "remove its folder and run again") from None


def optimizer_tensors(optimizer: Any) -> dict[str, torch.Tensor]:
    """Name Adam's state, parameter by parameter; None has none."""
    named: dict[str, torch.Tensor] = {}
    if optimizer is None:
        return named
    for at, parameter in enumerate(optimizer.param_groups[0]["params"]):
        for key, value in optimizer.state.get(parameter, {}).items():
            named[f"optimizer.{at}.{key}"] = value
    return named


def load_optimizer(optimizer: Any, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put back what `optimizer_tensors` named."""
    parameters = optimizer.param_groups[0]["params"]
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, at, key = name.split(".")
            optimizer.state[parameters[int(at)]][key] = tensor


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write JSONL, whole."""
    write_atomic(path, "".join(dumps(row) + "\n" for row in rows))


def read_rows(path: Path, count: int) -> list[dict[str, Any]]:
    """Read the first ``count`` rows of what `write_rows` wrote.

    Raises:
        RunError: There are fewer.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()[:count] if count else []
        rows = [json.loads(line) for line in lines]
    except (OSError, ValueError):
        rows = []
    if len(rows) < count:
        raise RunError(f"{path} is damaged", "remove its folder and run again")
    return rows
