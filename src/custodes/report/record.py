"""The content of a run folder: its summary, its roles, its config and how far it got."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from custodes.errors import RunError
from custodes.oversight.events import StartEvent
from custodes.oversight.log import History
from custodes.runs import read_events

__all__ = ["Record", "read_record"]


@dataclass(frozen=True)
class Record:
    """A run folder, read.

    Attributes:
        name: The run's name, or its folder's where there is no summary.
        summary: summary.json; None where the run was stopped before it wrote one.
        current: Whether the summary counts every response in the log.
        start: The log's first event, which describes the roles; None if the log is empty.
        steps: Number of steps in the log.
        planned: Number of steps in the config, None where it has no such key.
        finished: Whether the run is complete.
        config: The resolved config, as YAML.
        code: ``version`` and ``source`` of the code that ran.
    """

    name: str
    summary: Mapping[str, Any] | None
    current: bool
    start: StartEvent | None
    steps: int
    planned: int | None
    finished: bool
    config: str
    code: Mapping[str, str]


def read_record(folder: Path) -> Record:
    """Read a run folder, also of a run that was stopped at any moment.

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
    history = History.of(read_events(folder / "events.jsonl"))
    answered = sum(len(event.responses) for event in history.steps)
    return Record(
        name=folder.resolve().name if summary is None else summary["name"],
        summary=summary,
        current=summary is not None and summary["cost"]["responses"] == answered,
        start=history.start,
        steps=len(history.steps),
        planned=config.get("steps"),
        finished=history.finished,
        config=yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
        code=code,
    )


def _summary(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return summary
