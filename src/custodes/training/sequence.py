"""Trainings of one adapter in sequence; finished ones are not repeated after an interruption."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from custodes.models.memory import release_memory
from custodes.runs.store import Store
from custodes.training.lora import LoraModel, LoraOptions, read_factors
from custodes.training.result import TrainResult, significant

if TYPE_CHECKING:
    from custodes.models.torch import TorchModel

__all__ = ["MADE", "Method", "train_in_sequence"]

Method = Callable[[LoraModel], TrainResult]
"""Trains an adapter in place."""

MADE = "made"
"""Name of the last stage: once it is recorded the adapter is complete."""


def train_in_sequence(
    load: Callable[[], TorchModel],
    parent: Path | None,
    methods: Mapping[str, Method],
    *,
    folder: Path,
    lora: LoraOptions,
    seed: int,
) -> dict[str, Any]:
    """Train by one method after the other, each from where the one before it ended.

    A sequence that was killed and is started again in the same folder continues after its last
    finished method, and ends with the same bytes.

    Args:
        load: Loads the base model without an adapter; called only if something is to be trained.
        parent: Folder of the adapter to start from, None for the base model.
        methods: Trainings by name, in order; at least one.
        folder: Where the adapter is written; ``stages`` in it has the finished methods.
        lora: Shape of a new adapter, where there is no parent.
        seed: Initialises a new adapter.

    Returns:
        JSON-ready: ``weights_moved``, the relative norm of the whole change, and
        ``weights_moved_most``; each method's metrics under its name; ``controls``.
    """
    stages = Store(folder / "stages")
    loaded: dict[Path | None, LoraModel] = {}

    def model(adapter: Path | None) -> LoraModel:
        if adapter not in loaded:
            loaded.clear()
            loaded[adapter] = LoraModel(load(), adapter, lora, seed)
        return loaded[adapter]

    def train(method: Method, start: Path | None, out: Path) -> dict[str, Any]:
        student = model(start)
        result = method(student)
        student.save(out)
        loaded.clear()
        loaded[out] = student
        return {
            "metrics": result.metrics(),
            "controls": [control.to_dict() for control in result.controls],
        }

    def finish(last: Path) -> dict[str, Any]:
        student = model(last)
        moved = student.moved_from(None if parent is None else read_factors(parent))
        student.save(folder)
        most = {"where": moved.where, "by": significant(moved.largest)}
        return {"weights_moved": significant(moved.total), "weights_moved_most": most}

    finished: dict[str, Any] = {}
    start = parent
    for name, method in methods.items():
        out = stages.folder / name
        finished[name] = stages.once(name, partial(train, method, start, out))
        start = out
    assert start is not None
    change = stages.once(MADE, partial(finish, start))
    loaded.clear()
    release_memory()
    for name in methods:
        shutil.rmtree(stages.folder / name, ignore_errors=True)
    return {
        **change,
        **{name: stage["metrics"] for name, stage in finished.items()},
        "controls": [control for stage in finished.values() for control in stage["controls"]],
    }
