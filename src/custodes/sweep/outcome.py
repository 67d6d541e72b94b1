"""One run of a sweep: from a point to a config, from its folder to its measures.

All that a sweep knows of ``oversee`` is here.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from custodes.errors import ConfigError, CustodesError, RunError, near_misses

__all__ = ["Outcome", "check_axes", "config_at", "execute", "measures"]

Outcome = dict[str, tuple[float, float | None]]
"""By measure: its value, and its standard error where that is known."""


def config_at(base: Mapping[str, Any], point: Mapping[str, Any], seed: int, name: str) -> Any:
    """Return the ``oversee`` config at a point.

    Args:
        base: The config that all runs share, resolved or not.
        point: Values by dotted key.
        seed: Of the run.
        name: Of the run.

    Raises:
        ConfigError: A key is none of the config's, or a value is not allowed there.
    """
    from custodes.config import validate_config
    from custodes.oversight.config import OverseeConfig

    # With every default spelled out, a key inside one is a key like any other.
    raw = validate_config(dict(base), OverseeConfig, "base").model_dump(mode="json")
    raw = copy.deepcopy(raw)
    for key, value in point.items():
        _set(raw, key, value)
    return validate_config(raw | {"seed": seed, "name": name}, OverseeConfig, "axes")


def check_axes(base: Mapping[str, Any], corners: list[dict[str, Any]]) -> None:
    """Refuse axes that the config has not, and values that it does not take.

    Raises:
        ConfigError: The message names near misses.
    """
    for corner in corners:
        config_at(base, corner, 0, "check")


def _set(raw: Any, key: str, value: Any) -> None:
    place, parts = raw, key.split(".")
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(place, list):
            if not part.isdigit() or int(part) >= len(place):
                raise ConfigError(
                    f"axes: no key {key}",
                    f"{'.'.join(parts[:depth])} has items 0 to {len(place) - 1}",
                )
            index: Any = int(part)
        elif isinstance(place, dict):
            if part not in place:
                where = ".".join(parts[:depth])
                known = [f"{where}.{name}" if where else name for name in place]
                raise ConfigError(f"axes: no key {key}", near_misses(key, known))
            index = part
        else:
            raise ConfigError(f"axes: no key {key}", f"{'.'.join(parts[:depth])} is a plain value")
        if last:
            place[index] = value
        place = place[index]


def execute(config: Mapping[str, Any], folder: str) -> Outcome:
    """Run ``oversee`` in a folder and return its measures. Resumes what is there.

    Args:
        config: A whole ``oversee`` config, JSON-ready: it may come from another machine.
        folder: The run's.

    Raises:
        CustodesError: The run cannot go on.
    """
    from custodes.config import validate_config
    from custodes.oversight.config import OverseeConfig
    from custodes.oversight.run import oversee

    settings = validate_config(dict(config), OverseeConfig, "run")
    return measures(oversee(settings, Path(folder)))


def measures(summary: Mapping[str, Any]) -> Outcome:
    """Return what a summary measures: one number each, with its standard error if known.

    ``gold.DOMAIN``: the last checkpoint's gold score. ``gold_change.DOMAIN``: its change from the
    first, 0 without a retrain. ``rating.DOMAIN``: mean clean rating of the run's second half.
    ``retrains``: how many. ``wrongful_retrains``: those in a domain whose clean ratings since the
    last intercept had a mean above the threshold. ``failed_controls``, ``seconds``, ``responses``.
    """
    found: Outcome = {}
    for row in summary["gold"]:
        found[f"gold.{row['domain']}"] = (row["score"], _error(row["ci95"]))
        changed = row["change"] is not None
        found[f"gold_change.{row['domain']}"] = (
            (row["change"], _error(row["change_ci95"])) if changed else (0.0, 0.0)
        )
    series = summary["series"]
    half = max((row["step"] for row in series), default=0) / 2
    for domain in dict.fromkeys(row["domain"] for row in series):
        late = [r for r in series if r["domain"] == domain and r["step"] >= half]
        clean = [row["clean"] for row in late if row["clean"] is not None]
        if clean:
            found[f"rating.{domain}"] = (sum(clean) / len(clean), None)
    found["retrains"] = (float(len([row for row in series if row["retrain"]])), None)
    found["wrongful_retrains"] = (float(_wrongful(series)), None)
    found["failed_controls"] = (float(len(summary["verdict"]["failed"])), None)
    found["seconds"] = (float(summary["cost"]["seconds"]), None)
    found["responses"] = (float(summary["cost"]["responses"]), None)
    return found


def _wrongful(series: Any) -> int:
    """Count retrains that the undisturbed ratings did not ask for."""
    wrong = 0
    for row in series:
        if not row["retrain"] or row["evidence"] is None:
            continue
        intercepts = [
            r["step"]
            for r in series
            if r["intercept"] and r["domain"] == row["domain"] and r["step"] < row["step"]
        ]
        since = max(intercepts, default=-1)
        clean = [
            (r["clean"], r["n"])
            for r in series
            if r["domain"] == row["domain"]
            and since < r["step"] <= row["step"]
            and r["checkpoint"] == row["checkpoint"]
            and r["clean"] is not None
        ]
        n = sum(count for _, count in clean)
        wrong += n > 0 and sum(v * k for v, k in clean) / n > row["evidence"]["threshold"]
    return wrong


def pick(outcome: Mapping[str, Any], measure: str) -> tuple[float, float | None]:
    """Return one measure.

    Raises:
        ConfigError: There is no such measure.
        RunError: It is not a number.
    """
    if measure not in outcome:
        raise ConfigError(f"no measure {measure!r}", near_misses(measure, outcome))
    value, error = outcome[measure]
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise RunError(f"{measure} is {value}", "look into the run's report")
    known = error is not None and math.isfinite(error)
    return float(value), float(error) if known and error is not None else None


def reason(error: BaseException) -> str:
    """Say in a line why a run failed."""
    text = str(error) if isinstance(error, CustodesError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]


def _error(interval: Any) -> float | None:
    low, high = interval
    width = high - low
    return width / (2 * 1.96) if math.isfinite(width) else None
