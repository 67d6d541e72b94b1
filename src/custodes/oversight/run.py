"""``oversee``: a supervised Worker from a config to a summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from custodes.experts.expert import Expert
from custodes.oversight.build import build_roles, describe
from custodes.oversight.config import OverseeConfig, OwnExpertOptions
from custodes.oversight.controls.bookkeeping import OverseerPlan
from custodes.oversight.events import AuditEvent, EndEvent, GoldEvent, VerdictEvent, decode
from custodes.oversight.gold.score import Scorer
from custodes.oversight.loop import Loop, Roles
from custodes.oversight.own import OwnRoles, by_domain
from custodes.oversight.roles import Overseer, Teacher, User
from custodes.oversight.summary.result import RunSummary
from custodes.oversight.summary.summary import read_timings, summarise
from custodes.oversight.teachers.null import NullTeacher
from custodes.oversight.teachers.sham import ShamTeacher
from custodes.progress import Progress, silent
from custodes.runs.events import Event
from custodes.runs.folder import RunFolder
from custodes.training.live import live_metrics

__all__ = ["not_complete", "oversee", "run_twin"]

# A finished run may be given more steps: its audit and its end are then made anew.
GROWTH: dict[str, Any] = {"grows": "steps", "ending": (AuditEvent.kind, EndEvent.kind)}


def oversee(
    config: OverseeConfig,
    folder: Path | str,
    *,
    experts: Sequence[Expert] | Mapping[str, Expert] | None = None,
    overseer: Overseer | Callable[[], Overseer] | None = None,
    teacher: Teacher | Callable[..., Teacher] | None = None,
    user: User | Callable[..., User] | None = None,
    gold: Mapping[str, Scorer | Expert] | None = None,
    progress: Progress = silent,
) -> RunSummary:
    """Run a loop of a supervised Worker in a folder, or continue the one that is there.

    Killed at any moment and called again with the same arguments, it ends with the same events,
    and nothing that was finished is done again.

    Args:
        config: The config of the run.
        folder: The run's folder; made if it does not exist.
        experts: Rate the answers in place of all of the config's Experts, one in each domain.
        overseer: Decides in place of the config's Overseer. An object is copied for each control; a
            class or function makes a fresh one each time.
        teacher: Retrains in place of the config's Teacher. A class or function is called with
            ``queries`` and ``experts``, both by domain, and ``seed``, as far as it takes them.
        user: Asks in place of the config's User. A class or function is called with ``queries``,
            ``batch`` and ``seed``, as far as it takes them.
        gold: By domain, who takes the gold score in place of the config's.
        progress: Called with each stage.

    Returns:
        The summary, a dict that is also in ``summary.json`` (docs/guide/oversee.md has its keys).

    Raises:
        CustodesError: A mistake in the config, a missing file, a full disk…, in one line; what was
            finished is kept.
    """
    folder = Path(folder)
    own = OwnRoles(by_domain(experts or ()), overseer, teacher, user, dict(gold or {}))
    config = _with_domains(config, own)
    settings = config.model_dump(mode="json")
    # What is shown while it runs is no part of the run.
    settings.pop("report_to")
    if own.described():
        settings["own"] = own.described()
    with (
        live_metrics(config.report_to, config.name),
        RunFolder(folder, settings, **GROWTH) as run,
    ):
        for note in run.notes:
            progress(note, 1, 1)
        roles = build_roles(config, folder, progress, own)
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
            if run.log.events:
                summary = summarise(
                    config.name,
                    run.log.events,
                    roles.make_overseer,
                    _timings(folder),
                    null_events,
                    sham_events=sham_events,
                    plan=_plan(config, own),
                )
                if not complete:
                    summary["verdict"] |= not_complete(summary["verdict"])
                run.write_summary(summary)
    return RunSummary(summary)


def _with_domains(config: OverseeConfig, own: OwnRoles) -> OverseeConfig:
    """Return the config with the domains of Experts that Python code gives."""
    if not own.experts:
        return config
    experts = [OwnExpertOptions(domain=d, object=e.name) for d, e in own.experts.items()]
    return config.with_experts(experts)


def _plan(config: OverseeConfig, own: OwnRoles) -> OverseerPlan:
    options = config.overseer
    # An Overseer of its own has a rhythm and a budget of its own.
    ours = own.overseer is None and options.object is None
    return OverseerPlan(
        thresholds=config.thresholds,
        overseer_steps=options.overseer_steps if ours else None,
        max_retrains=options.max_retrains if ours else None,
    )


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
    with RunFolder(
        run.path / name, config.model_dump(mode="json", exclude={"report_to"}), **GROWTH
    ) as folder:
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
