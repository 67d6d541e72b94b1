"""Self-training: a Worker learns from its own answers, generation after generation.

Every generation samples answers, ranks them, and learns the best (SFT, DPO or both, with LoRA). The
experiment is what ranks them: the Worker's own likelihood, an Expert, or chance, which is the
control. The gold score measures each generation, and ``custodes drift`` on the same folder finds
what else changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from custodes.conversation import Query
from custodes.data.datasets import read_prompts
from custodes.experts.expert import DOMAIN_NAME, DOMAINS, Expert
from custodes.oversight.build import build_roles, describe, source_of
from custodes.oversight.config import DatasetUserOptions, HeadOptions, OverseeConfig, WorkerOptions
from custodes.oversight.events import EndEvent, StartEvent
from custodes.oversight.gold.score import GoldOptions
from custodes.oversight.loop import Loop, Roles
from custodes.oversight.overseer import NullOverseer
from custodes.oversight.perturbations.effects import Disturbed
from custodes.oversight.run import not_complete
from custodes.oversight.summary.summary import read_timings, summarise
from custodes.oversight.teachers.dpo import DpoTeacher, TeacherOptions
from custodes.oversight.teachers.selectors import ChanceExpert, LikelihoodExpert
from custodes.oversight.teachers.trainable import trainable
from custodes.oversight.worker import ModelWorker
from custodes.progress import Progress, silent
from custodes.runs.folder import RunFolder
from custodes.runs.lineage import Checkpoint
from custodes.seeds import derive

__all__ = ["SelfTrainingConfig", "self_train", "train_generations"]


class SelfTrainingConfig(BaseModel):
    """What ``self_train`` runs.

    Attributes:
        name: Name of the run.
        seed: Seeds everything that is drawn; runs that differ in ``select`` alone begin with the
            same answers to the same prompts.
        generations: Number of generations.
        worker: The Worker.
        select: What ranks its answers: its own likelihood (``self``), the domain's Expert, or
            chance (``random``), which is the control.
        domain: The domain of the prompts and of the Expert.
        source: The prompts: a shipped set or a file; the domain's shipped set by default.
        head: The Expert that ranks; the domain's own by default.
        teacher: How much is sampled and how it is trained on.
        gold: How the gold score is taken, in both domains.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    seed: int = 0
    generations: Annotated[int, Field(ge=1)] = 3
    worker: WorkerOptions = WorkerOptions()
    select: Literal["self", "expert", "random"] = "self"
    domain: Annotated[str, Field(pattern=DOMAIN_NAME)] = "helpfulness"
    source: str | None = None
    head: str | None = None
    teacher: TeacherOptions = TeacherOptions()
    gold: GoldOptions = GoldOptions()


def self_train(
    config: SelfTrainingConfig, folder: Path, *, progress: Progress = silent
) -> dict[str, Any]:
    """Train a Worker on its own answers in a folder, or continue what is there.

    Killed at any moment and called again with the same arguments, it ends with the same events.
    The folder is a run folder: ``custodes drift`` reads its lineage, and ``write_report`` its
    summary.

    Args:
        config: The config of the run.
        folder: The run's folder; made if it does not exist.
        progress: Called with each stage.

    Returns:
        The summary, also in ``summary.json``: ``gold`` for each generation with intervals over
        prompts, ``retrains``, and ``controls``, those that failed first.

    Raises:
        CustodesError: A mistake in the config, a missing file, a full disk…, in one line; what was
            finished is kept.
    """
    with RunFolder(folder, config.model_dump(mode="json")) as run:
        for note in run.notes:
            progress(note, 1, 1)
        whole = _as_oversee(config)
        roles = build_roles(whole, folder, progress)
        trainable(roles.worker)
        complete = False
        try:
            train_generations(run, roles, config, lambda: describe(whole, roles), progress)
            complete = True
        finally:
            if run.log.events:
                summary = summarise(
                    config.name,
                    run.log.events,
                    NullOverseer,
                    read_timings(folder / "timings.jsonl"),
                )
                if not complete:
                    summary["verdict"] |= not_complete(summary["verdict"])
                run.write_summary(summary)
    return summary


def train_generations(
    run: RunFolder,
    roles: Roles,
    config: SelfTrainingConfig,
    start: Callable[[], StartEvent],
    progress: Progress = silent,
) -> None:
    """Make the generations that the log does not have yet.

    Args:
        run: The run's folder.
        roles: The Worker, the Experts and the gold panel are used, and nobody else.
        config: The config of the run.
        start: Describes the roles, for the log.
        progress: Called with each stage.
    """
    queries: dict[str, Sequence[Query]] = {
        config.domain: read_prompts(source_of(config.domain, config.source), domain=config.domain)
    }
    loop = Loop(run, roles, config.seed, progress)
    loop.begin(start)
    for generation in range(config.generations):
        progress("generations", generation, config.generations)
        learn = partial(_learn, config, roles, queries, loop.worker, generation, progress)
        loop.change_worker(generation, learn)
    loop.log.once(EndEvent, EndEvent)
    progress("generations", config.generations, config.generations)


def _learn(
    config: SelfTrainingConfig,
    roles: Roles,
    queries: Mapping[str, Sequence[Query]],
    worker: ModelWorker,
    generation: int,
    progress: Progress,
    folder: Path,
) -> Disturbed[Checkpoint]:
    """Train the next generation in a folder."""
    teacher = DpoTeacher(
        queries,
        {config.domain: _ranker(config, roles.experts, worker)},
        config.teacher,
        seed=derive(config.seed, "teacher"),
        progress=progress,
    )
    data = teacher.gather(worker, config.domain, generation, folder)
    checkpoint = teacher.train(worker, config.domain, generation, folder, data, data.pairs)
    return Disturbed(replace(checkpoint, intervention=f"self-training:{config.select}"))


def _ranker(
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
    """Return the config of a loop with the same Worker, Experts and gold score."""
    heads = dict.fromkeys(DOMAINS) | {config.domain: config.head}
    return OverseeConfig(
        name=config.name,
        seed=config.seed,
        worker=config.worker,
        user=DatasetUserOptions(sources={config.domain: config.source} if config.source else None),
        experts=tuple(HeadOptions(domain=domain, head=head) for domain, head in heads.items()),
        teacher=config.teacher,
        gold=config.gold,
    )
