"""Noise on the weights of whatever Worker a run has."""

from __future__ import annotations

from pathlib import Path

from custodes.models.simulated import SimulatedModel, noisy_state
from custodes.oversight.roles import Worker
from custodes.oversight.teachers.trainable import trainable
from custodes.oversight.worker import ModelWorker
from custodes.runs.lineage import Checkpoint
from custodes.training.noise import add_noise
from custodes.training.result import significant

__all__ = ["add_weight_noise"]


def add_weight_noise(folder: Path, worker: Worker, sd: float, seed: int) -> Checkpoint:
    """Make a checkpoint that is the Worker's with noise on it.

    Args:
        folder: Where the checkpoint is written.
        worker: The Worker before the noise.
        sd: Standard deviation of the noise: relative to each weight matrix's root mean square, or
            in logits for the simulated Worker, whose weights are its two propensities.
        seed: Draws the noise.

    Raises:
        ModelError: The Worker's weights are not on this machine.
    """
    model = worker.serving if isinstance(worker, ModelWorker) else None
    if not isinstance(model, SimulatedModel):
        return add_noise(folder, trainable(worker), sd, seed)
    before, parent = model.state, worker.checkpoint
    after = noisy_state(before, sd, seed)
    after.save(folder)
    moved = max(abs(after.helpful - before.helpful), abs(after.harmful - before.harmful))
    return Checkpoint(
        number=parent.number + 1,
        adapter=folder,
        parent=parent.number,
        intervention="weight_noise",
        metrics={"weights_moved": significant(moved), "controls": []},
    )
