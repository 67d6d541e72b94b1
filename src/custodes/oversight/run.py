"""``oversee``: a supervised Worker from a config to a summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from custodes.oversight.build import build_roles, describe
from custodes.oversight.config import OverseeConfig
from custodes.oversight.loop import Loop, Roles
from custodes.oversight.overseer import ThresholdOverseer
from custodes.oversight.summary import read_timings, summarise
from custodes.oversight.teachers.teacher import NullTeacher
from custodes.progress import Progress, silent
from custodes.runs.events import Event
from custodes.runs.folder import RunFolder

__all__ = ["oversee"]


def oversee(config: OverseeConfig, folder: Path, *, progress: Progress = silent) -> dict[str, Any]:
    """Run a loop of a supervised Worker in a folder, or go on with the one that is there.

    Killed at any moment and called again with the same arguments, it ends with the same events,
    and nothing that was finished is done again.

    Args:
        config: What to run.
        folder: Where; made if it is not there.
        progress: Told what is going on.

    Returns:
        The summary, which is in ``summary.json`` as well (docs/oversee.md has its keys).

    Raises:
        CustodesError: Whatever a user can mend, in one line; what was done is kept.
    """
    settings = config.model_dump(mode="json")
    with RunFolder(folder, settings) as run:
        for note in run.notes:
            progress(note, 1, 1)
        roles = build_roles(config, folder, progress)
        null_events = None
        try:
            start = partial(describe, config, roles)
            Loop(run, roles, config.seed, progress).go(config.steps, start)
            if config.control:
                null_events = _null_run(config, settings, run, roles, progress)
        finally:
            # Also of a run that was interrupted: what it has is worth reading.
            summary = summarise(
                config.name,
                run.log.events,
                config.overseer,
                _timings(folder),
                null_events,
            )
            run.write_summary(summary)
    return summary


def _timings(folder: Path) -> list[dict[str, Any]]:
    """Read what everything took, the null run as one stage."""
    null = read_timings(folder / "null_run" / "timings.jsonl")
    return read_timings(folder / "timings.jsonl") + [row | {"stage": "null run"} for row in null]


def _null_run(
    config: OverseeConfig,
    settings: dict[str, Any],
    run: RunFolder,
    roles: Roles,
    progress: Progress,
) -> list[Event]:
    """Run the same loop under the same seed with a Teacher that does nothing."""
    # A fresh Overseer: the other one remembers the run that it oversaw.
    null = replace(roles, teacher=NullTeacher(), overseer=ThresholdOverseer(config.overseer))
    with RunFolder(run.path / "null_run", settings) as folder:
        if not folder.resumed:
            # Up to its first retrain the one run is the other, and is not paid for twice.
            folder.log.adopt(_before_first_retrain(run.log.events))

        def told(what: str, done: int, total: int) -> None:
            progress(f"null run: {what}", done, total)

        Loop(folder, null, config.seed, told).go(config.steps, partial(describe, config, null))
        return folder.log.events


def _before_first_retrain(events: Sequence[Event]) -> list[Event]:
    first = next(
        (i for i, e in enumerate(events) if e["kind"] == "verdict" and e["retrain"] is not None),
        len(events) - 1,
    )
    return list(events[: first + 1])
