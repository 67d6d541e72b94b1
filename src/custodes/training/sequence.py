"""Several trainings of one adapter, one after the other, of which the finished ones are kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from custodes.runs.stages import Stages
from custodes.training.lora import LoraModel, LoraOptions, read_factors
from custodes.training.result import TrainResult, significant

if TYPE_CHECKING:
    from custodes.models.torch import TorchModel

__all__ = ["MADE", "Method", "take_course"]

Method = Callable[[LoraModel], TrainResult]
"""Trains an adapter in place."""

MADE = "made"
"""The last stage; the adapter is complete when it is there."""


def take_course(
    load: Callable[[], TorchModel],
    parent: Path | None,
    methods: Mapping[str, Method],
    *,
    folder: Path,
    lora: LoraOptions,
    seed: int,
) -> dict[str, Any]:
    """Train by one method after the other, each from where the one before it ended.

    A course that was killed and is taken again in the same folder goes on after its last finished
    method, and ends with the same bytes.

    Args:
        load: Loads the base, without adapter; called only when something is to be trained.
        parent: Adapter to begin with, None for the base.
        methods: By name, in order; at least one.
        folder: Gets the adapter, and under ``stages`` what lies between.
        lora: Of a new adapter, where there is no parent.
        seed: Of a new adapter.

    Returns:
        JSON-ready: ``weights_moved``, the relative norm of the whole change, and
        ``weights_moved_most``; each method's metrics under its name; ``controls``.
    """
    stages = Stages(folder / "stages")
    held: dict[Path | None, LoraModel] = {}

    def model(adapter: Path | None) -> LoraModel:
        if adapter not in held:
            held.clear()
            held[adapter] = LoraModel(load(), adapter, lora, seed)
        return held[adapter]

    def train(method: Method, start: Path | None, out: Path) -> dict[str, Any]:
        student = model(start)
        result = method(student)
        student.save(out)
        held.clear()
        held[out] = student
        return {"metrics": result.metrics(), "controls": list(result.controls)}

    def finish(last: Path) -> dict[str, Any]:
        student = model(last)
        moved = student.moved_from(None if parent is None else read_factors(parent))
        student.save(folder)
        most = {"where": moved.where, "by": significant(moved.largest)}
        return {"weights_moved": significant(moved.total), "weights_moved_most": most}

    done: dict[str, Any] = {}
    at = parent
    for name, method in methods.items():
        out = stages.folder / name
        done[name] = stages.once(name, partial(train, method, at, out))
        at = out
    assert at is not None
    made = stages.once(MADE, partial(finish, at))
    for name in methods:
        shutil.rmtree(stages.folder / name, ignore_errors=True)
    return {
        **made,
        **{name: stage["metrics"] for name, stage in done.items()},
        "controls": [control for stage in done.values() for control in stage["controls"]],
    }
