"""The map of a sweep: ``phases.json`` and ``runs.parquet``, rebuilt from the log."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from custodes.control import Control
from custodes.runs.files import write_json
from custodes.sweep.config import SweepConfig
from custodes.sweep.outcome import pick
from custodes.sweep.phases import judge, neighbours, overall, pooled_sd, regions
from custodes.sweep.space import Axis, Point, Space
from custodes.sweep.surprise import Forecast, Surprise, confirm, negative_log_density
from custodes.sweep.surrogate import Surrogate, fit_surrogate

__all__ = ["build", "write_output"]

Array: TypeAlias = NDArray[np.float64]
Event: TypeAlias = Mapping[str, Any]

RASTER = 32
"""Cells of an interval on a panel."""
PANELS = 12
"""At most so many panels."""
MOST = 400
"""The map's surrogate is fitted to at most so many runs."""


def build(
    config: SweepConfig, space: Space, events: Sequence[Event], found: Sequence[Surprise]
) -> dict[str, Any]:
    """Rebuild the map.

    Args:
        config: Of the sweep.
        space: Its axes.
        events: The log.
        found: Each point against the others.

    Returns:
        JSON-ready; docs/guide/sweep.md has its keys.
    """
    rows = list(_runs(config, events))
    points = _points(config, space, rows, found)
    surrogate = _surrogate(config, space, rows)
    forecasts = _forecasts(rows)
    labels = [point["phase"] for point in points]
    places = [point["point"] for point in points]
    return {
        "name": config.name,
        "finished": any(event["kind"] == "end" for event in events),
        "measure": config.measure,
        "level": config.level,
        "limits": {
            name: {"low": limit.low, "high": limit.high}
            for name, limit in config.acceptable().items()
        },
        "axes": [_axis(axis) for axis in space.axes],
        "counts": _counts(rows, points),
        "controls": [control.to_dict() for control in _controls(surrogate, rows, forecasts)],
        "forecasts": forecasts,
        "points": points,
        "neighbours": [list(near) for near in neighbours(space, places)],
        "regions": [
            {"phase": region.phase, "points": [int(i) for i in region.members]}
            for region in regions(space, places, labels)
        ],
        "structure": [],
        "surrogate": None if surrogate is None else _described(space, surrogate),
        "panels": [] if surrogate is None else _panels(config, space, surrogate),
        "runs": rows,
    }


def write_output(folder: Path, result: Mapping[str, Any]) -> None:
    """Write ``phases.json`` and, where pyarrow is installed, ``runs.parquet``."""
    write_json(folder / "phases.json", dict(result))
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return
    table = pyarrow.Table.from_pylist([_flat(row) for row in result["runs"]])
    parquet.write_table(table, folder / "runs.parquet")


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat = {key: row[key] for key in ("run", "status", "purpose", "seed", "reason")}
    flat |= {f"axis.{name}": value for name, value in row["point"].items()}
    for name, (value, sd) in row["outcome"].items():
        flat |= {f"measure.{name}": value, f"sd.{name}": sd}
    for forecast in row["forecasts"]:
        for key in ("mean", "sd", "nats"):
            flat[f"forecast.{forecast['source']}.{key}"] = forecast[key]
    return flat


def _runs(config: SweepConfig, events: Sequence[Event]) -> Any:
    outcomes = {e["run"]: e["outcome"] for e in events if e["kind"] == "outcome"}
    reasons = {e["run"]: e["reason"] for e in events if e["kind"] == "failure"}
    for event in events:
        if event["kind"] != "run":
            continue
        number = event["run"]
        outcome = outcomes.get(number, {})
        status = "done" if outcome else "failed" if number in reasons else "running"
        value = outcome.get(config.measure, (None, None))[0]
        yield {
            "run": number,
            "folder": f"runs/{number:05d}",
            "point": event["point"],
            "purpose": event["purpose"],
            "seed": event["seed"],
            "status": status,
            "reason": reasons.get(number),
            "outcome": outcome,
            "forecasts": [_scored(forecast, value) for forecast in event["forecasts"]],
        }


def _scored(forecast: Mapping[str, Any], value: float | None) -> dict[str, Any]:
    made = Forecast(forecast["source"], forecast["mean"], forecast["sd"])
    nats = None if value is None else negative_log_density(made, value)
    return {"source": made.source, "mean": made.mean, "sd": made.sd, "nats": nats}


def _points(
    config: SweepConfig, space: Space, rows: Sequence[Any], found: Sequence[Surprise]
) -> list[dict[str, Any]]:
    """Judge each point by its limits, and join what is surprising about it."""
    groups: dict[Any, list[Any]] = {}
    for row in rows:
        groups.setdefault(space.key(row["point"]), []).append(row)
    surprises = {space.key(surprise.point): surprise for surprise in found}
    limits = config.acceptable()
    between = {
        name: pooled_sd([[v for v, _ in _values(group, name)] for group in groups.values()])
        for name in limits
    }
    points = []
    for key, group in groups.items():
        verdicts = {
            name: judge(
                [value for value, _ in _values(group, name)],
                limit,
                sd=[sd for _, sd in _values(group, name)],
                pooled=between[name] if between[name].freedom else None,
                limits=len(limits),
            )
            for name, limit in limits.items()
        }
        quality = overall(list(verdicts.values()))
        if quality == "failed" and any(row["status"] == "running" for row in group):
            quality = "undecided"
        surprise = _surprise(config, surprises.get(key), group)
        points.append(
            {
                "point": group[0]["point"],
                "runs": [row["run"] for row in group],
                "quality": quality,
                "surprise": surprise,
                "phase": quality
                if quality == "failed"
                else f"{quality}, {'surprising' if surprise['counts'] else 'expected'}",
                "measures": {
                    name: {
                        "mean": _finite(verdict.mean),
                        "low": _finite(verdict.low),
                        "high": _finite(verdict.high),
                        "runs": verdict.runs,
                        "quality": verdict.quality,
                    }
                    for name, verdict in verdicts.items()
                },
            }
        )
    return points


def _values(group: Sequence[Any], measure: str) -> list[tuple[float, float | None]]:
    return [pick(row["outcome"], measure) for row in group if measure in row["outcome"]]


def _surprise(config: SweepConfig, found: Surprise | None, group: Sequence[Any]) -> dict[str, Any]:
    if found is None:
        return {"flagged": False, "confirmed": None, "counts": False, "p": None, "q": None}
    fresh = [row for row in group if row["purpose"] == "confirmation"]
    confirmed = None
    if found.flagged:
        confirmed = confirm(found, [value for value, _ in _values(fresh, config.measure)])
    return {
        "flagged": found.flagged,
        "confirmed": confirmed,
        "counts": bool(found.flagged and confirmed),
        "p": found.p,
        "q": found.q,
        "value": found.value,
        "expected": found.expected,
        "sd": _finite(found.sd),
    }


def _forecasts(rows: Sequence[Any]) -> dict[str, Any]:
    """Score everybody's registered forecasts over the runs of the map."""
    found: dict[str, Any] = {}
    for row in rows:
        for forecast in row["forecasts"]:
            if row["purpose"] == "map" and forecast["nats"] is not None:
                found.setdefault(forecast["source"], []).append(forecast)
    return {
        source: {
            "runs": len(given),
            "nats": float(np.mean([f["nats"] for f in given])),
            "covered": float(np.mean([_covered(f) for f in given])),
        }
        for source, given in found.items()
    }


def _covered(forecast: Mapping[str, Any]) -> bool:
    """Whether the outcome was in the forecast's 95% interval: read back from its density."""
    log_sd = math.log(forecast["sd"]) + 0.5 * math.log(2 * math.pi)
    return bool(2 * (forecast["nats"] - log_sd) <= 1.96**2)


def _surrogate(config: SweepConfig, space: Space, rows: Sequence[Any]) -> Surrogate | None:
    done = [r for r in rows if config.measure in r["outcome"] and r["purpose"] == "map"]
    if len(done) < 4:
        return None
    if len(done) > MOST:
        chosen = np.random.default_rng(config.seed).choice(len(done), MOST, replace=False)
        done = [done[i] for i in sorted(chosen)]
    told = [pick(row["outcome"], config.measure) for row in done]
    variances = np.array([math.nan if sd is None else sd**2 for _, sd in told])
    x_NK = space.encode([row["point"] for row in done])
    return fit_surrogate(space, x_NK, np.array([value for value, _ in told]), variances)


def _controls(
    surrogate: Surrogate | None, rows: Sequence[Any], forecasts: Mapping[str, Any]
) -> list[Control]:
    return [_skill(surrogate), *(_coverage(who, f) for who, f in forecasts.items()), _kept(rows)]


def _skill(surrogate: Surrogate | None) -> Control:
    name = "the map predicts points that are left out"
    if surrogate is None:
        return Control.not_tested(name, "fewer than 4 runs are done")
    values, left_out = surrogate.values, surrogate.left_out()
    error = float(np.sqrt(np.mean((values - left_out.mean) ** 2)))
    plain = float(values.std() * len(values) / (len(values) - 1))
    return Control(
        name,
        error < plain,
        f"root mean square error {error:.3g}; without a map, from the mean of the others, "
        f"{plain:.3g} (the first must be less)",
        {"error": error, "without": plain},
    )


def _coverage(source: str, scored: Mapping[str, Any]) -> Control:
    name = f"registered forecasts cover outcomes: {source}"
    n, share = scored["runs"], scored["covered"]
    if n < 20:
        return Control.not_tested(name, f"{n} forecasts; at least 20 are needed")
    least = 0.95 - 3 * math.sqrt(0.95 * 0.05 / n) - 0.05
    return Control(
        name,
        share >= least,
        f"{share:.0%} of {n} outcomes in their 95% interval (must be at least {least:.0%})",
        {"covered": share, "forecasts": n},
    )


def _kept(rows: Sequence[Any]) -> Control:
    failed = sum(row["status"] == "failed" for row in rows)
    return Control(
        "runs ended",
        failed == 0,
        f"{failed} of {len(rows)} runs failed (must be none; each is on the map with its reason)",
        {"failed": failed, "runs": len(rows)},
    )


def _counts(rows: Sequence[Any], points: Sequence[Any]) -> dict[str, Any]:
    phases: dict[str, int] = {}
    for point in points:
        phases[point["phase"]] = phases.get(point["phase"], 0) + 1
    return {
        "runs": len(rows),
        "done": sum(row["status"] == "done" for row in rows),
        "failed": sum(row["status"] == "failed" for row in rows),
        "running": sum(row["status"] == "running" for row in rows),
        "points": len(points),
        "phases": phases,
    }


def _axis(axis: Axis) -> dict[str, Any]:
    return {
        "name": axis.name,
        "kind": axis.kind,
        "low": axis.low if axis.kind == "float" else None,
        "high": axis.high if axis.kind == "float" else None,
        "log": axis.log,
        "values": list(axis.values),
    }


def _described(space: Space, surrogate: Surrogate) -> dict[str, Any]:
    lengths = np.exp(surrogate.theta[1:-1])
    return {
        "lengths": dict(zip(space.names, map(float, lengths), strict=True)),
        "noise_sd": surrogate.noise_sd,
    }


# Panels: two axes, at some values of the others


def _panels(config: SweepConfig, space: Space, surrogate: Surrogate) -> list[dict[str, Any]]:
    from scipy.special import ndtr

    lengths = np.exp(surrogate.theta[1:-1])
    # Those along which most happens; intervals and numbers before categories.
    order = sorted(
        range(len(space.axes)), key=lambda i: (space.axes[i].kind == "categorical", lengths[i])
    )
    drawn = sorted(order[:2])
    rest = [i for i in range(len(space.axes)) if i not in drawn]
    panels = []
    for at in itertools.islice(itertools.product(*_cuts(space, rest)), PANELS):
        fixed = {space.axes[i].name: value for i, value in zip(rest, at, strict=True)}
        sides = [_cells(space.axes[i]) for i in drawn]
        points: list[Point] = [
            fixed | {space.axes[i].name: v for i, v in zip(drawn, values, strict=True)}
            for values in itertools.product(*sides)
        ]
        predicted = surrogate.predict(points)
        above = ndtr((predicted.mean - config.level) / predicted.sd)
        panels.append(
            {
                "axes": [space.axes[i].name for i in drawn],
                "fixed": fixed,
                "cells": [list(side) for side in sides],
                "above": np.round(above, 3).tolist(),
                "mean": np.round(predicted.mean, 4).tolist(),
            }
        )
    return panels


def _cells(axis: Axis) -> list[Any]:
    if axis.kind != "float":
        return list(axis.values)
    return [axis.decode((i + 0.5) / RASTER) for i in range(RASTER)]


def _cuts(space: Space, rest: Sequence[int]) -> list[list[Any]]:
    most = max(1, int(PANELS ** (1 / max(1, len(rest))) + 1e-9))
    cuts = []
    for i in rest:
        axis = space.axes[i]
        if axis.kind == "float":
            cuts.append([axis.decode((j + 0.5) / most) for j in range(most)])
        else:
            at = np.unique(np.linspace(0, len(axis.values) - 1, most).round().astype(int))
            cuts.append(
                [
                    axis.values[j]
                    for j in (at if most < len(axis.values) else range(len(axis.values)))
                ]
            )
    return cuts


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
