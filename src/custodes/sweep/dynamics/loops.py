"""Walks of a whole loop along one axis: the same Worker all the way up and all the way back.

Each value of the axis is a *leg*: a run of ``oversee`` that begins with the Worker as the leg
before it left it. The Overseer's budget, the User and the perturbations begin anew with each leg.
The walk up and the walk down visit the same values; where the loop remembers nothing they agree.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from custodes.errors import ConfigError
from custodes.seeds import derive
from custodes.sweep import outcome as runs
from custodes.sweep.dynamics.measures import walk
from custodes.sweep.simulator.loop import LoopModel, simulate

__all__ = ["last_worker", "walk_runs", "walk_simulator"]

Array: TypeAlias = NDArray[np.float64]
Execute: TypeAlias = Callable[[Mapping[str, Any], str], runs.Outcome]


def walk_runs(
    base: Mapping[str, Any],
    axis: str,
    values: Sequence[float],
    measure: str,
    folder: Path,
    *,
    seed: int = 0,
    execute: Execute = runs.execute,
) -> tuple[list[float], list[float]]:
    """Walk real runs up and down an axis. A walk that was killed goes on in its folder.

    Args:
        base: The ``oversee`` config of all legs.
        axis: A dotted key of it.
        values: Of the axis, in order; numbers.
        measure: What is measured of each leg (docs/guide/sweep.md lists them).
        folder: Each leg has a folder in it.
        seed: Of the legs, each of which has its own.
        execute: Does one run.

    Returns:
        Outcomes on the way up, and on the way down in the order of ``values``.

    Raises:
        ConfigError: The axis is none of the config's, or a value of it is no number.
        RunError: A leg's measure is not a number.
    """
    _numbers(axis, values)
    leg = 0

    def outcome(value: float, worker: object) -> tuple[float, object]:
        nonlocal leg
        point = {axis: value} if worker is None else {axis: value, "worker.model": worker}
        name = f"leg-{leg:02d}"
        settings = runs.config_at(base, point, derive(seed, "leg", leg), name)
        leg += 1
        measured = execute(settings.model_dump(mode="json"), str(folder / name))
        result, _ = runs.pick(measured, measure)
        return result, last_worker(folder / name, settings.worker.model)

    up, down, _ = walk(outcome, list(values))
    return up, down


def last_worker(folder: Path, model: str) -> str:
    """Return the name of a run's last checkpoint, as a Worker's ``model``.

    Args:
        folder: The run's.
        model: What the run began with; it is returned where nothing was retrained.
    """
    from custodes.models.simulated import STATE_FILE
    from custodes.runs.events import read_events

    made = [e for e in read_events(folder / "events.jsonl") if e["kind"] == "checkpoint"]
    adapter = made[-1]["adapter"] if made else None
    if adapter is None:
        return model
    path = (folder / adapter).resolve()
    state = path / STATE_FILE
    if not state.exists():
        return str(path)
    return _named(json.loads(state.read_bytes()))


def _named(state: Mapping[str, Any]) -> str:
    """Return the name of a simulated model in a state; further domains begin with no retrain."""
    fields = {k: v for k, v in state.items() if k not in ("others", "other_retrains")}
    fields |= {f"domain.{name}": level for name, level in state.get("others", ())}
    return "simulated:" + ",".join(f"{name}={value}" for name, value in fields.items())


def walk_simulator(
    model: LoopModel,
    axis: str,
    values: Sequence[float],
    *,
    steps: int,
    loops: int = 64,
    measure: Literal["gold", "ratings"] = "gold",
    domain: Literal["helpfulness", "harmlessness"] = "harmlessness",
    seed: int = 0,
) -> tuple[Array, Array]:
    """Walk the simulator up and down an axis, many loops at a time.

    Args:
        model: Its parameters.
        axis: The parameter that is walked along.
        values: Of it, in order.
        steps: Of each leg.
        loops: Replicates, R.
        measure: ``gold``, the logit at the end of a leg, or ``ratings``, the mean of its second
            half.
        domain: Of the measure.
        seed: Of everything that is drawn.

    Returns:
        Outcomes by loop and value, up and down; shape (R, K) each, as `hysteresis` takes them.

    Raises:
        ConfigError: There is no such parameter, or a value of it is no number.
    """
    _numbers(axis, values)
    column = {"helpfulness": 0, "harmlessness": 1}[domain]
    order = [*values, *reversed(values)]
    found = np.empty((loops, len(order)))
    for leg, value in enumerate(order):
        run = simulate(
            model.at_points({axis: value}), steps, loops=loops, seed=derive(seed, "leg", leg)
        )
        gold = run.gold[:, -1]
        found[:, leg] = (
            gold[:, column]
            if measure == "gold"
            else run.ratings[:, steps // 2 :, column].mean(axis=1)
        )
        model = replace(model, helpful=_expit(gold[:, 0]), harmful=_expit(-gold[:, 1]))
    k = len(values)
    return found[:, :k], found[:, k:][:, ::-1]


def _numbers(axis: str, values: Sequence[Any]) -> None:
    """Refuse categories: there is no up and down along them."""
    for value in values:
        if isinstance(value, (bool, str)) or not np.isfinite(value):
            raise ConfigError(
                f"a walk along {axis} over {value!r}", "a walk needs an axis of finite numbers"
            )


def _expit(u: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-u)))
