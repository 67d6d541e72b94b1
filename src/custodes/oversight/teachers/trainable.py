"""Which Workers can be trained on this machine."""

from __future__ import annotations

from custodes.errors import ModelError
from custodes.models.resolve import parse
from custodes.oversight.roles import Worker
from custodes.oversight.worker import ModelWorker

__all__ = ["trainable"]


def trainable(worker: Worker) -> ModelWorker:
    """Return a Worker that can be trained here.

    Raises:
        ModelError: Its weights are not on this machine, or it has none.
    """
    if not isinstance(worker, ModelWorker) or parse(worker.name).kind in ("endpoint", "simulated"):
        name = getattr(worker, "name", type(worker).__name__)
        raise ModelError(
            f"{name} cannot be trained here", "use a bundled model, a hub id, a folder or a .gguf"
        )
    return worker
