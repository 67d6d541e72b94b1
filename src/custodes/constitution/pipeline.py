"""``align``: the stages in order, each finished once, from a config to a summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from custodes.constitution.config import AlignConfig
from custodes.constitution.context import AlignRun, StageResult
from custodes.constitution.principles import load_constitution
from custodes.constitution.replies import Replies
from custodes.constitution.stages import learning
from custodes.constitution.stages.critique import revise
from custodes.constitution.stages.evaluation import compare_models
from custodes.constitution.stages.preferences import make_preferences
from custodes.constitution.stages.red_team import red_team
from custodes.constitution.summary import summarise
from custodes.errors import ConfigError
from custodes.models.resolve import parse
from custodes.oversight.worker import BASE
from custodes.progress import Progress, silent
from custodes.runs.folder import RunFolder
from custodes.runs.lineage import Checkpoint
from custodes.runs.store import Store

__all__ = ["align", "default_folder"]

ARMS = ("", "sham")


@dataclass(frozen=True)
class Step:
    """One stage of one arm and round.

    Attributes:
        key: Its key in the store, e.g. "rl" or "sham-rl-2".
        stage: The stage.
        arm: "" or "sham".
        number: The round, from 1.
        make: Runs it.
    """

    key: str
    stage: str
    arm: str
    number: int
    make: Callable[[], StageResult]


def default_folder(config: AlignConfig) -> Path:
    """Return the folder of a run: an inverted one is marked in its name."""
    return Path("runs") / (f"{config.name}-inverted" if config.inverted else config.name)


def align(config: AlignConfig, folder: Path, *, progress: Progress = silent) -> dict[str, Any]:
    """Run stages of constitutional training in a folder, or go on with those that are there.

    Killed at any moment and called again with the same arguments, it ends with the same data
    files, and nothing that was finished is done or paid for again. Stages that have run before
    are not repeated, so that the parts of a pipeline can be run one after the other.

    Args:
        config: The config of the run.
        folder: The run's folder; made if it does not exist.
        progress: Called with each stage.

    Returns:
        The summary, also in ``summary.json`` (docs/guide/align.md has its keys).

    Raises:
        CustodesError: A mistake in the config, a missing file, a failed gate…, in one line; what
            was finished is kept.
    """
    constitution = load_constitution(config.constitution)
    if config.inverted:
        constitution = constitution.inverse()
        if "inverted" not in folder.resolve().name:
            raise ConfigError(
                f"{folder} does not say that this run is inverted",
                f"choose a folder with inverted in its name, e.g. {folder.name}-inverted",
            )
    kind = parse(config.worker.model).kind
    if kind in ("endpoint", "simulated"):
        raise ConfigError(
            f"{config.worker.model} cannot be trained here",
            "use a bundled model, a hub id, a folder or a .gguf",
        )
    # Which stages run, and whether a failed gate stops them, may change from call to call.
    settings = config.model_dump(mode="json", exclude={"stages", "gate"})
    with RunFolder(folder, settings) as opened:
        for note in opened.notes:
            progress(note, 1, 1)
        run = AlignRun(
            config,
            constitution,
            opened,
            Store(folder / "stages"),
            Replies(folder / "replies", progress),
            progress,
        )
        _record(run, BASE)
        complete, stopped = False, ""
        try:
            stopped = _run(run)
            complete = True
        finally:
            # A run that was interrupted gets a summary of what it has as well.
            summary = summarise(run, stopped, complete=complete)
            opened.write_summary(summary)
    return summary


def _run(run: AlignRun) -> str:
    """Run the stages that are asked for; returns why they stopped, "" if they did not."""
    for step in _steps(run):
        run.progress(f"stage {step.key}", 0, 1)
        result = run.store.once(step.key, partial(_make, run, step))
        for row in result["checkpoints"]:
            _record(run, Checkpoint.from_event(row, run.folder.path))
        run.progress(f"stage {step.key}", 1, 1)
        if result["stop"] and run.config.gate == "stop":
            return f"{step.key}: {result['stop']}"
    return ""


def _make(run: AlignRun, step: Step) -> dict[str, Any]:
    result = step.make()
    return {
        "stage": step.stage,
        "arm": step.arm,
        "round": step.number,
        "facts": dict(result.facts),
        "controls": [control.to_dict() for control in result.controls],
        "stop": result.stop,
        "checkpoints": [one.to_event(run.folder.path) for one in result.checkpoints],
    }


def _record(run: AlignRun, checkpoint: Checkpoint) -> None:
    """Write a checkpoint into the log, once."""
    known = {event["checkpoint"] for event in run.folder.log.of("checkpoint")}
    if checkpoint.number not in known:
        run.folder.log.append("checkpoint", **checkpoint.to_event(run.folder.path))


def _steps(run: AlignRun) -> Iterator[Step]:
    """List the steps: the stages before the loop, its rounds in each arm, and the report."""
    wanted = run.config.stages
    before = {
        "red_team": partial(red_team, run),
        "revise": partial(revise, run),
        "sl": partial(learning.supervise, run),
    }
    for stage, make in before.items():
        if stage in wanted:
            yield Step(stage, stage, "", 1, make)
    loop = {
        "preferences": make_preferences,
        "reward": learning.train_reward,
        "rl": learning.reinforce,
    }
    stages = [stage for stage in loop if stage in wanted]
    if run.config.rl.method == "dpo" and "reward" in stages:
        # DPO has no use for a reward model.
        stages.remove("reward")
    # Later rounds begin with answers of the model that the round before them made.
    rounds = run.config.rl.rounds if {"preferences", "rl"} <= set(stages) else 1
    for arm in ARMS if run.config.sham else ARMS[:1]:
        for number in range(1, rounds + 1):
            for stage in stages:
                parts = (arm, stage, str(number) if number > 1 else "")
                key = "-".join(part for part in parts if part)
                make = partial(_in_round, run, loop[stage], arm, number)
                yield Step(key, stage, arm, number, make)
    if "report" in wanted:
        # Made again once there are more models to compare.
        numbers = [event["checkpoint"] for event in run.folder.log.of("checkpoint")]
        key = "-".join(map(str, ["report", *numbers]))
        yield Step(key, "report", "", 1, partial(compare_models, run))


def _in_round(
    run: AlignRun,
    make: Callable[[AlignRun, str, int, Checkpoint], StageResult],
    arm: str,
    number: int,
) -> StageResult:
    """Run a stage of a round, from the model of the round before, else from the SL model."""
    earlier: Sequence[int] = [
        learning.number_of(run, arm, past) for past in range(number - 1, 0, -1)
    ]
    return make(run, arm, number, run.latest(*earlier, 1))
