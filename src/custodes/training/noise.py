"""Gaussian noise on the weights of a Worker, as an adapter like any other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from custodes.models.resolve import load_torch
from custodes.runs.lineage import Checkpoint
from custodes.training.card import write_card
from custodes.training.lora import LoraModel, LoraOptions, read_factors
from custodes.training.result import significant

if TYPE_CHECKING:
    from custodes.models.torch import TorchModel

__all__ = ["add_noise", "disturb_weights"]


class Adapted(Protocol):
    """The part of a Worker that is needed here."""

    @property
    def base(self) -> str:
        """Name of the model without an adapter."""
        ...

    @property
    def adapter(self) -> Path | None:
        """The adapter that answers now."""
        ...

    @property
    def checkpoint(self) -> Checkpoint:
        """The weights that answer now."""
        ...


def add_noise(folder: Path, worker: Adapted, sd: float, seed: int) -> Checkpoint:
    """Make a checkpoint that is the Worker's with noise on it.

    Args:
        folder: Where the adapter and its card are written.
        worker: The Worker before the noise.
        sd: Standard deviation of the noise; see `disturb_weights`.
        seed: Draws the noise.

    Raises:
        ModelError: The Worker's weights are not on this machine.
    """
    parent = worker.checkpoint
    metrics = disturb_weights(
        partial(load_torch, worker.base),
        worker.adapter,
        sd=sd,
        seed=seed,
        folder=folder,
        lora=LoraOptions(),
    )
    checkpoint = Checkpoint(
        number=parent.number + 1,
        adapter=folder,
        parent=parent.number,
        intervention="weight_noise",
        metrics=metrics,
    )
    write_card(folder, checkpoint, worker.base)
    return checkpoint


def disturb_weights(
    load: Callable[[], TorchModel],
    parent: Path | None,
    *,
    sd: float,
    seed: int,
    folder: Path,
    lora: LoraOptions,
) -> dict[str, Any]:
    """Add noise to every adapted matrix, within the row space of its adapter's A.

    An adapter cannot hold noise of full rank. What it holds here is (alpha / rank) N A with N
    Gaussian, scaled so that its norm is ``sd`` times that of the matrix it is added to.

    Args:
        load: Loads the base model without an adapter.
        parent: Folder of the adapter to add noise to, None for the base model.
        sd: Standard deviation of the noise, relative to each weight matrix's root mean square.
        seed: Draws the noise, and initialises A where there is no parent.
        folder: Where the adapter is written.
        lora: Shape of a new adapter, where there is no parent.

    Returns:
        ``weights_moved``: the relative norm of the whole change.
    """
    import torch

    model = LoraModel(load(), parent, lora, seed)
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module, a, b, scale in model.matrices():
            noise = torch.randn(b.shape, generator=draws, dtype=b.dtype)
            size = torch.linalg.matrix_norm(noise @ a) * scale
            weight = torch.linalg.matrix_norm(module.weight.float())
            b.add_(noise * (sd * weight / size))
    moved = model.moved_from(None if parent is None else read_factors(parent))
    model.save(folder)
    return {"weights_moved": significant(moved.total), "controls": []}
