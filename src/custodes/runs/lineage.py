"""Checkpoints of a run, each with its parent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from custodes.errors import RunError
from custodes.runs.events import read_events

__all__ = ["Checkpoint", "read_lineage"]


@dataclass(frozen=True)
class Checkpoint:
    """A Worker's weights: a base model plus, after the first, a LoRA adapter.

    Attributes:
        number: 0 is the base model itself.
        adapter: PEFT folder (safetensors); None for the base.
        parent: Number of the checkpoint that was trained or changed; None for the base.
        intervention: The step that made it: "base", "instructor", "teacher:harmlessness" or
            "weight_noise".
        metrics: Measurements of the intervention. They hold no times, so a repeated run repeats
            them.
    """

    number: int
    adapter: Path | None
    parent: int | None
    intervention: str
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def to_event(self, folder: Path) -> dict[str, Any]:
        """Return the fields of its event; the adapter's path is relative to the run's folder."""
        adapter = None
        if self.adapter is not None:
            # A control run may stand on a checkpoint of the run that it is a control of.
            adapter = Path(os.path.relpath(self.adapter, folder)).as_posix()
        return {
            "checkpoint": self.number,
            "adapter": adapter,
            "parent": self.parent,
            "intervention": self.intervention,
            "metrics": dict(self.metrics),
        }

    @staticmethod
    def from_event(event: Mapping[str, Any], folder: Path) -> Checkpoint:
        """Return the checkpoint whose event ``to_event`` made."""
        adapter = None if event["adapter"] is None else folder / event["adapter"]
        return Checkpoint(
            event["checkpoint"], adapter, event["parent"], event["intervention"], event["metrics"]
        )


def read_lineage(folder: Path) -> list[Checkpoint]:
    """List a run's checkpoints, oldest first, the base (number 0) included.

    Raises:
        RunError: The folder is not a run.
    """
    if not (folder / "events.jsonl").exists():
        raise RunError(f"{folder} is not a run folder", "it has no events.jsonl")
    events = read_events(folder / "events.jsonl")
    checkpoints = [Checkpoint.from_event(e, folder) for e in events if e["kind"] == "checkpoint"]
    for checkpoint in checkpoints:
        if checkpoint.adapter is not None and not checkpoint.adapter.exists():
            raise RunError(
                f"checkpoint {checkpoint.number} of {folder} is gone",
                f"restore {checkpoint.adapter} from a copy",
            )
    return checkpoints
