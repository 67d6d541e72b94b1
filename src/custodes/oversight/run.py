"""``oversee``: a supervised Worker from a config to a summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from custodes.oversight.build import build_roles, describe
from custodes.oversight.config import OverseeConfig
from custodes.oversight.events import VerdictEvent, decode
from custodes.oversight.loop import Loop, Roles
from custodes.oversight.summary import read_timings, summarise
from custodes.oversight.teachers.null import NullTeacher
from custodes.progress import Progress, silent
from custodes.runs.events import Event
from custodes.runs.folder import RunFolder

__all__ = ["oversee", "run_null"]


def oversee(config: OverseeConfig, folder: Path, *, progress: Progress = silent) -> dict[str, Any]:
    """Run a loop of a supervised Worker in a folder, or continue the one that is there.

    Killed at any moment and called again with the same arguments, it ends with the same events,
    and nothing that was finished is done again.

    Args:
        config: The config of the run.
        folder: The run's folder; made if it does not exist.
        progress: Called with each stage.

    Returns:
        The summary, also in ``summary.json`` (docs/guide/oversee.md has its keys).

    Raises:
        CustodesError: A mistake in the config, a missing file, a full disk…, in one line; what was
            finished is kept.
    """
    settings = config.model_dump(mode="json")
    with RunFolder(folder, settings) as run:
        for note in run.notes:
            progress(note, 1, 1)
        roles = build_roles(config, folder, progress)
        null_events = None
        try:
            start = partial(describe, config, roles)
            Loop(run, roles, config.seed, progress).run(config.steps, start)
            if config.control:
                null_events = run_null(config, settings, run, roles, progress)
        finally:
            # A run that was interrupted gets a summary of what it has as well.
            summary = summarise(
                config.name,
                run.log.events,
                roles.make_overseer,
                _timings(folder),
                null_events,
            )
            run.write_summary(summary)
    return summary


def _timings(folder: Path) -> list[dict[str, Any]]:
    """Read how long everything took, the null run as one stage."""
    null = read_timings(folder / "null_run" / "timings.jsonl")
    return read_timings(folder / "timings.jsonl") + [row | {"stage": "null run"} for row in null]


def run_null(
    config: OverseeConfig,
    settings: dict[str, Any],
    run: RunFolder,
    roles: Roles,
    progress: Progress,
) -> list[Event]:
    """Run the same loop under the same seed with a Teacher that does nothing.

    Args:
        config: The config of the run.
        settings: The same, JSON-ready.
        run: The run's folder; the null run goes into ``null_run`` in it.
        roles: The roles of the run.
        progress: Called with each stage.

    Returns:
        The lines of the null run's log.
    """
    null = replace(roles, teacher=NullTeacher())
    with RunFolder(run.path / "null_run", settings) as folder:
        if not folder.resumed:
            # Up to its first retrain the one run is the other, and is not paid for twice.
            folder.log.adopt(_before_first_retrain(run.log.events))

        def prefixed(stage: str, done: int, total: int) -> None:
            progress(f"null run: {stage}", done, total)

        Loop(folder, null, config.seed, prefixed).run(config.steps, partial(describe, config, null))
        return folder.log.events


def _before_first_retrain(rows: Sequence[Event]) -> list[Event]:
    events = map(decode, rows)
    retrains = (
        i
        for i, event in enumerate(events)
        if isinstance(event, VerdictEvent) and event.retrain is not None
    )
    return list(rows[: next(retrains, len(rows) - 1) + 1])
