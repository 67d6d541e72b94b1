"""``oversee``: a supervised Worker from a config to a summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from custodes.oversight.build import build_roles, describe
from custodes.oversight.config import OverseeConfig
from custodes.oversight.controls.bookkeeping import OverseerPlan
from custodes.oversight.events import AuditEvent, GoldEvent, VerdictEvent, decode
from custodes.oversight.loop import Loop, Roles
from custodes.oversight.summary.result import RunSummary
from custodes.oversight.summary.summary import read_timings, summarise
from custodes.oversight.teachers.null import NullTeacher
from custodes.oversight.teachers.sham import ShamTeacher
from custodes.progress import Progress, silent
from custodes.runs.events import Event
from custodes.runs.folder import RunFolder

__all__ = ["not_complete", "oversee", "run_twin"]


def oversee(config: OverseeConfig, folder: Path, *, progress: Progress = silent) -> RunSummary:
    """Run a loop of a supervised Worker in a folder, or continue the one that is there.

    Killed at any moment and called again with the same arguments, it ends with the same events,
    and nothing that was finished is done again.

    Args:
        config: The config of the run.
        folder: The run's folder; made if it does not exist.
        progress: Called with each stage.

    Returns:
        The summary, a dict that is also in ``summary.json`` (docs/guide/oversee.md has its keys).

    Raises:
        CustodesError: A mistake in the config, a missing file, a full disk…, in one line; what was
            finished is kept.
    """
    settings = config.model_dump(mode="json")
    with RunFolder(folder, settings) as run:
        for note in run.notes:
            progress(note, 1, 1)
        roles = build_roles(config, folder, progress)
        null_events = sham_events = None
        complete = False
        try:
            start = partial(describe, config, roles)
            Loop(run, roles, config.seed, progress).run(config.steps, start)
            if config.control:
                null = replace(roles, teacher=NullTeacher())
                null_events = _since_instructor(
                    run_twin(config, run, null, "null_run", progress), config
                )
            if config.sham:
                sham = replace(roles, teacher=ShamTeacher(roles.teacher, seed=config.seed))
                sham_events = run_twin(config, run, sham, "sham_run", progress)
            complete = True
        finally:
            # A run that was interrupted gets a summary of what it has as well.
            summary = summarise(
                config.name,
                run.log.events,
                roles.make_overseer,
                _timings(folder),
                null_events,
                sham_events=sham_events,
                plan=OverseerPlan(
                    thresholds=config.overseer.thresholds,
                    overseer_steps=config.overseer.overseer_steps,
                    max_retrains=config.overseer.max_retrains,
                ),
            )
            if not complete:
                summary["verdict"] |= not_complete(summary["verdict"])
            run.write_summary(summary)
    return RunSummary(summary)


def _since_instructor(rows: list[Event], config: OverseeConfig) -> list[Event]:
    """Leave out the base's gold score where an Instructor changed the base.

    A null run shows what happens to the weights that the Teacher is given.
    """
    if config.instructor is None:
        return rows
    return [row for row in rows if row["kind"] != GoldEvent.kind or row["checkpoint"] > 0]


def not_complete(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a verdict becomes when the run or one of its control runs stopped early."""
    explanation = f"the run is not complete; so far: {verdict['explanation']}"
    return {"passed": False, "explanation": explanation}


def _timings(folder: Path) -> list[dict[str, Any]]:
    """Read how long everything took, each control run as one stage."""
    return read_timings(folder / "timings.jsonl") + [
        row | {"stage": name.replace("_", " ")}
        for name in ("null_run", "sham_run")
        for row in read_timings(folder / name / "timings.jsonl")
    ]


def run_twin(
    config: OverseeConfig,
    run: RunFolder,
    roles: Roles,
    name: str,
    progress: Progress,
) -> list[Event]:
    """Run the same loop under the same seed with other roles, as a control.

    Args:
        config: The config of the run.
        run: The run's folder; the twin goes into a folder of that name in it.
        roles: The roles of the twin.
        name: "null_run" or "sham_run".
        progress: Called with each stage.

    Returns:
        The lines of the twin's log.
    """
    with RunFolder(run.path / name, config.model_dump(mode="json")) as folder:
        if not folder.resumed:
            # Up to its first retrain the one run is the other, and is not paid for twice.
            folder.log.adopt(_before_first_retrain(run.log.events))

        def prefixed(stage: str, done: int, total: int) -> None:
            progress(f"{name.replace('_', ' ')}: {stage}", done, total)

        start = partial(describe, config, roles)
        Loop(folder, roles, config.seed, prefixed).run(config.steps, start)
        return folder.log.events


def _before_first_retrain(rows: Sequence[Event]) -> list[Event]:
    """Return the events that a twin shares, with the paths as seen from its folder."""
    events = map(decode, rows)
    retrains = (
        i
        for i, event in enumerate(events)
        if isinstance(event, VerdictEvent) and event.retrain is not None
    )
    # A run without a retrain has an audit and an end of its own.
    ends = (i - 1 for i, row in enumerate(rows) if row["kind"] == AuditEvent.kind)
    last = next(retrains, next(ends, len(rows) - 1))
    shared = rows[: last + 1]
    return [
        {**row, "adapter": f"../{row['adapter']}"} if row.get("adapter") else row for row in shared
    ]
