"""What a run folder says: its summary, who took part, its config and how far it got."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from custodes.errors import RunError
from custodes.runs import read_events

__all__ = ["Record", "read_record"]


@dataclass(frozen=True)
class Record:
    """A run folder, read.

    Attributes:
        name: The run's name, or its folder's where there is no summary.
        summary: summary.json; None where the run was stopped before it wrote one.
        current: Whether the summary counts every response that the log has.
        start: The log's ``start`` event: who took part. None where the log does not have it.
        steps: Steps in the log.
        planned: Steps that the config asks for, None where it does not say.
        finished: Whether the log has an ``end``.
        config: The resolved config, as YAML.
        code: Which code ran: ``version`` and ``source``.
    """

    name: str
    summary: Mapping[str, Any] | None
    current: bool
    start: Mapping[str, Any] | None
    steps: int
    planned: int | None
    finished: bool
    config: str
    code: Mapping[str, str]


def read_record(folder: Path) -> Record:
    """Read a run folder; one whose run was stopped at any moment will do.

    Raises:
        RunError: The folder is not a run, or one of its files is damaged.
    """
    if not (folder / "config.yaml").exists():
        raise RunError(f"{folder} is not a run folder", "it has no config.yaml")
    try:
        stored = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        config, code = stored["config"], stored["code"]
        summary = _summary(folder / "summary.json")
    except (ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise RunError(
            f"config.yaml or summary.json of {folder} is damaged",
            "restore config.yaml from a copy; run the same command again for a new summary.json",
        ) from error
    events = read_events(folder / "events.jsonl")
    steps = [event for event in events if event["kind"] == "step"]
    answered = sum(len(event["responses"]) for event in steps)
    return Record(
        name=folder.resolve().name if summary is None else summary["name"],
        summary=summary,
        current=summary is not None and summary["cost"]["responses"] == answered,
        start=next((event for event in events if event["kind"] == "start"), None),
        steps=len(steps),
        planned=config.get("steps"),
        finished=any(event["kind"] == "end" for event in events),
        config=yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
        code=code,
    )


def _summary(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
