"""Self-training: a Worker learns from its own answers, generation after generation.

Every generation samples answers, has somebody choose among them, and learns the choice (SFT, DPO or
both, with LoRA). Who chooses is the experiment: the Worker by its own likelihood, an Expert, or
chance, which is the control. The gold score of each generation says what came of it, and ``custodes
drift`` on the same folder says what else changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from custodes.conversation import PreferencePair, Query
from custodes.data.datasets import read_prompts
from custodes.experts.expert import Expert
from custodes.oversight.build import SOURCES, build_roles, describe
from custodes.oversight.config import HeadOptions, OverseeConfig, WorkerOptions
from custodes.oversight.gold import GoldOptions
from custodes.oversight.loop import BEFORE_THE_LOOP, Loop, Roles
from custodes.oversight.overseer import OverseerOptions
from custodes.oversight.summary import read_timings, summarise
from custodes.oversight.teachers.selectors import ChanceExpert, LikelihoodExpert
from custodes.oversight.teachers.teacher import DpoTeacher, TeacherOptions, trainable
from custodes.oversight.worker import ModelWorker
from custodes.progress import Progress, silent
from custodes.runs.folder import RunFolder
from custodes.runs.lineage import Checkpoint
from custodes.seeds import derive

__all__ = ["SelfTrainingConfig", "self_train", "train_generations"]


class SelfTrainingConfig(BaseModel):
    """What ``self_train`` runs.

    Attributes:
        name: Of the run.
        seed: Of everything that is drawn; runs that differ in ``select`` alone begin with the same
            answers to the same prompts.
        generations: How often the Worker learns from itself.
        worker: The Worker.
        select: Who chooses among its answers: the Worker itself by its likelihood (``self``), the
            domain's Expert, or chance (``random``), which is the control.
        domain: Whose prompts are asked, and whose Expert chooses.
        source: The prompts: a shipped set or a file; the domain's shipped set by default.
        head: The Expert that chooses; the domain's own by default.
        teacher: How much is sampled and how it is learnt.
        gold: How the held-out score is taken, in both domains.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    seed: int = 0
    generations: Annotated[int, Field(ge=1)] = 3
    worker: WorkerOptions = WorkerOptions()
    select: Literal["self", "expert", "random"] = "self"
    domain: Literal["helpfulness", "harmlessness"] = "helpfulness"
    source: str | None = None
    head: str | None = None
    teacher: TeacherOptions = TeacherOptions()
    gold: GoldOptions = GoldOptions()


def self_train(
    config: SelfTrainingConfig, folder: Path, *, progress: Progress = silent
) -> dict[str, Any]:
    """Train a Worker on itself in a folder, or go on with what is there.

    Killed at any moment and called again with the same arguments, it ends with the same events.
    The folder is a run folder: ``custodes drift`` reads its lineage, and ``write_report`` its
    summary.

    Args:
        config: What to run.
        folder: Where; made if it is not there.
        progress: Told what is going on.

    Returns:
        The summary, also in ``summary.json``: ``gold`` for each generation with intervals over
        prompts, ``retrains``, and ``controls``, those that failed first.

    Raises:
        CustodesError: Whatever a user can mend, in one line; what was done is kept.
    """
    with RunFolder(folder, config.model_dump(mode="json")) as run:
        for note in run.notes:
            progress(note, 1, 1)
        whole = _as_oversee(config)
        roles = build_roles(whole, folder, progress)
        trainable(roles.worker)
        try:
            train_generations(run, roles, config, lambda: describe(whole, roles), progress)
        finally:
            summary = summarise(
                config.name,
                run.log.events,
                OverseerOptions(),
                read_timings(folder / "timings.jsonl"),
            )
            run.write_summary(summary)
    return summary


def train_generations(
    run: RunFolder,
    roles: Roles,
    config: SelfTrainingConfig,
    start: Any,
    progress: Progress = silent,
) -> None:
    """Make the generations that the log does not have yet.

    Args:
        run: The run's folder.
        roles: The Worker, the Experts and the gold panel; nobody else of them is asked.
        config: What to run.
        start: Describes the roles, for the log.
        progress: Told what is going on.
    """
    queries: dict[str, Sequence[Query]] = {
        config.domain: read_prompts(config.source or SOURCES[config.domain], domain=config.domain)
    }
    loop = Loop(run, roles, config.seed, progress)
    run.log.once("start", start)
    run.log.once("checkpoint", loop.base, step=BEFORE_THE_LOOP)
    loop.measure_gold(BEFORE_THE_LOOP)

    def learn(generation: int, folder: Path) -> Checkpoint:
        chooser = _chooser(config, roles.experts, loop.worker)
        teacher = DpoTeacher(
            queries,
            {config.domain: chooser},
            config.teacher,
            seed=derive(config.seed, "teacher"),
            progress=progress,
        )
        made = teacher.retrain(loop.worker, config.domain, generation, folder, _undisturbed)
        return replace(made, intervention=f"self-training:{config.select}")

    for generation in range(config.generations):
        progress("generations", generation, config.generations)
        loop.change_worker(generation, lambda folder, g=generation: learn(g, folder))  # type: ignore[misc]
    run.log.once("end", dict)
    progress("generations", config.generations, config.generations)


def _chooser(
    config: SelfTrainingConfig, experts: Mapping[str, Expert], worker: ModelWorker
) -> Expert:
    match config.select:
        case "self":
            return LikelihoodExpert(config.domain, worker)
        case "expert":
            return experts[config.domain]
        case "random":
            return ChanceExpert(config.domain, derive(config.seed, "chance"))


def _as_oversee(config: SelfTrainingConfig) -> OverseeConfig:
    """Describe the same Worker, Experts and gold score as a loop's, to have them built."""
    heads = {"helpfulness": None, "harmlessness": None} | {config.domain: config.head}
    return OverseeConfig(
        name=config.name,
        seed=config.seed,
        worker=config.worker,
        experts=tuple(HeadOptions(domain=domain, head=head) for domain, head in heads.items()),
        teacher=config.teacher,
        gold=config.gold,
    )


def _undisturbed(domain: str, pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
    del domain
    return list(pairs)
