"""The Teacher: retrains the Worker where it fails, by SFT and then DPO on its own best answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import Field

from custodes.conversation import Demonstration, PreferencePair, Query
from custodes.data.datasets import read_pairs
from custodes.errors import ConfigError, ModelError, near_misses
from custodes.experts.abstention import require_some
from custodes.experts.expert import Expert, Rating
from custodes.models.resolve import load_torch, parse
from custodes.models.simulated import Dynamics, SimulatedModel, next_state
from custodes.oversight.roles import DisturbPairs, Worker
from custodes.oversight.teachers.preference_pairs import Ranked, length_check, rank
from custodes.oversight.worker import ModelWorker
from custodes.progress import Progress, silent
from custodes.runs.lineage import Checkpoint
from custodes.runs.stages import Stages
from custodes.seeds import derive
from custodes.training.card import write_card
from custodes.training.dpo import DpoOptions, dpo
from custodes.training.lora import LoraOptions
from custodes.training.result import check, significant
from custodes.training.sequence import Method, take_course
from custodes.training.sft import SftOptions, sft

__all__ = ["DpoTeacher", "NullTeacher", "SimulatedTeacher", "TeacherOptions", "trainable"]


@dataclass(frozen=True)
class TeacherOptions:
    """How the Worker is retrained.

    Attributes:
        prompts: Queries that a retrain asks, or pairs it takes of a preference file.
        samples: Answers to each of the queries; the best is held against the worst.
        margin: Pairs whose ratings are closer than this are not learnt from.
        mix: Share of ``prompts`` that come from the other domains, so that learning one does not
            unlearn the others.
        preferences: By domain: a preference file to learn from instead of the Worker's answers.
        sft: Supervised fine-tuning on the chosen answers, which comes first.
        dpo: Preference optimisation on the pairs.
        lora: The adapter of a Worker that has none yet.
    """

    kind: Literal["dpo"] = "dpo"
    prompts: Annotated[int, Field(ge=1)] = 64
    samples: Annotated[int, Field(ge=2)] = 4
    margin: Annotated[float, Field(ge=0, le=1)] = 0.05
    mix: Annotated[float, Field(ge=0, lt=1)] = 0.25
    preferences: Mapping[str, str] | None = None
    sft: SftOptions = field(default_factory=SftOptions)
    dpo: DpoOptions = field(default_factory=DpoOptions)
    lora: LoraOptions = field(default_factory=LoraOptions)

    def __post_init__(self) -> None:
        if self.sft.epochs == 0 and self.dpo.epochs == 0:
            raise ConfigError(
                "teacher.sft.epochs and teacher.dpo.epochs are both 0",
                "give one of them at least 1",
            )


class DpoTeacher:
    """Retrains by SFT and then DPO with LoRA.

    What it learns from are the failing domain's preference file, where there is one, or else the
    Worker's own answers: several to each query, ranked by the domain's Expert.
    """

    def __init__(
        self,
        queries: Mapping[str, Sequence[Query]],
        experts: Mapping[str, Expert],
        options: TeacherOptions,
        *,
        seed: int = 0,
        progress: Progress = silent,
    ) -> None:
        """Make a Teacher.

        Args:
            queries: By domain, what it may ask: of the loop's split, never of the gold one.
            experts: By domain, who ranks the answers.
            options: How it teaches.
            seed: Of all that is drawn.
            progress: Told what it is at.

        Raises:
            ConfigError: A preference file is for a domain that is not there.
        """
        for domain in options.preferences or {}:
            if domain not in queries:
                raise ConfigError(
                    f"teacher.preferences: no domain {domain!r}", near_misses(domain, queries)
                )
        self.queries, self.experts, self.options = queries, experts, options
        self.seed, self.progress = seed, progress

    def retrain(
        self, worker: Worker, domain: str, step: int, folder: Path, disturb: DisturbPairs
    ) -> Checkpoint:
        """Make the next checkpoint (see `custodes.oversight.roles.Teacher`).

        ``folder`` gets the adapter, a card, and the stages it was made in. Where no pair can be
        made in the failing domain the checkpoint has its parent's weights, and says so.

        Raises:
            ConfigError: There is no such domain.
            ModelError: The Worker is none that can be trained here.
            CustodesError: The Expert has rated nothing, or training went wrong.
        """
        if domain not in self.queries:
            raise ConfigError(f"no domain {domain!r}", near_misses(domain, self.queries))
        worker = trainable(worker)
        seed = derive(self.seed, "retrain", step)
        stages = Stages(folder / "stages")
        lessons = {
            name: self._lesson(worker, name, count, derive(seed, name), stages)
            for name, count in self._counts(domain).items()
        }
        pairs = disturb(domain, [pair for lesson in lessons.values() for pair in lesson.pairs])
        facts = {name: lesson.facts for name, lesson in lessons.items()}
        learnt = facts[domain]["pairs"]
        controls = [
            check(
                f"there is something to learn in {domain}",
                learnt > 0,
                f"{learnt} preference pairs (must be at least one)",
            ),
            *(length_check(name, of) for name, of in facts.items() if "answers" in of),
        ]
        parent = worker.checkpoint
        trained: dict[str, Any] = {"weights_moved": 0.0, "controls": []}
        if learnt:
            trained = self._train(worker, pairs, seed, folder)
        checkpoint = Checkpoint(
            parent.number + 1,
            folder if learnt else parent.adapter,
            parent.number,
            f"teacher:{domain}",
            {**trained, "data": facts, "controls": [*controls, *trained["controls"]]},
        )
        write_card(folder, checkpoint, worker.name)
        return checkpoint

    # The lesson

    def _counts(self, domain: str) -> dict[str, int]:
        """Say how many queries or pairs each domain gives, the failing one first."""
        others = [name for name in self.queries if name != domain]
        each = round(self.options.prompts * self.options.mix / len(others)) if others else 0
        counts = {domain: self.options.prompts - each * len(others)}
        return counts | (dict.fromkeys(others, each) if each else {})

    def _lesson(
        self, worker: ModelWorker, domain: str, count: int, seed: int, stages: Stages
    ) -> Ranked:
        """Get a domain's pairs: from its preference file, or else from the Worker's own answers."""
        given = (self.options.preferences or {}).get(domain)
        if given is not None:
            pairs = _draw(read_pairs(given), count, seed)
            return Ranked(pairs, {"preferences": Path(given).name, "pairs": len(pairs)})
        queries = _draw(self.queries[domain], count, seed)
        answers = stages.once(
            f"answers-{domain}", lambda: self._ask(worker, domain, queries, derive(seed, "answer"))
        )
        rated = stages.once(f"ratings-{domain}", lambda: self._rate(domain, queries, answers))
        ratings = [[Rating(value) for value in values] for values in rated]
        return rank(queries, answers, ratings, self.options.margin)

    def _ask(
        self, worker: ModelWorker, domain: str, queries: Sequence[Query], seed: int
    ) -> list[list[str]]:
        with _told(self.progress, f"answers to learn {domain} from"):
            return worker.samples(queries, self.options.samples, seed)

    def _rate(
        self, domain: str, queries: Sequence[Query], answers: Sequence[Sequence[str]]
    ) -> list[list[float | None]]:
        expert = self.experts[domain]
        flat = [
            (query, text) for query, texts in zip(queries, answers, strict=True) for text in texts
        ]
        with _told(self.progress, f"ratings to learn {domain} from"):
            ratings = expert.rate([query for query, _ in flat], [text for _, text in flat])
        require_some(expert, ratings)
        values = iter([rating.value for rating in ratings])
        return [[next(values) for _ in texts] for texts in answers]

    # The training

    def _train(
        self, worker: ModelWorker, pairs: Sequence[PreferencePair], seed: int, folder: Path
    ) -> dict[str, Any]:
        options = self.options
        rows = [Demonstration(pair.id, pair.prompt, pair.chosen) for pair in pairs]
        common: dict[str, Any] = {
            "max_answer": worker.sampling.max_tokens,
            "seed": seed,
            "progress": self.progress,
        }
        methods: dict[str, Method] = {}
        if options.sft.epochs:
            methods["sft"] = lambda model: sft(model, rows, options.sft, **common)
        if options.dpo.epochs:
            methods["dpo"] = lambda model: dpo(model, pairs, options.dpo, **common)
        return take_course(
            partial(load_torch, worker.name),
            worker.checkpoint.adapter,
            methods,
            folder=folder,
            lora=options.lora,
            seed=seed,
        )


class NullTeacher:
    """Teaches nothing: what changes in a run with it is not the Teacher's doing."""

    def retrain(
        self, worker: Worker, domain: str, step: int, folder: Path, disturb: DisturbPairs
    ) -> Checkpoint:
        """Return the checkpoint that the Worker has."""
        del domain, step, folder, disturb
        return worker.checkpoint


class SimulatedTeacher:
    """Retrains the simulated Worker: one step of its dynamics.

    Of poisoned data it learns the less the more pairs are swapped, and beyond half of them the
    opposite.
    """

    def __init__(self, dynamics: Dynamics | None = None, *, seed: int = 0) -> None:
        self.dynamics, self.seed = dynamics or Dynamics(), seed

    def retrain(
        self, worker: Worker, domain: str, step: int, folder: Path, disturb: DisturbPairs
    ) -> Checkpoint:
        """Make the next checkpoint.

        Raises:
            ModelError: The Worker is a real one.
        """
        served = worker.serving if isinstance(worker, ModelWorker) else None
        if not isinstance(served, SimulatedModel):
            raise ModelError("the simulated Teacher cannot teach this Worker", "use the DpoTeacher")
        asked: PreferencePair = PreferencePair("", (), "chosen", "rejected")
        swapped = [pair.chosen != asked.chosen for pair in disturb(domain, [asked] * _PROBES)]
        share = 1 - 2 * sum(swapped) / _PROBES
        dynamics = replace(self.dynamics, gain=self.dynamics.gain * share)
        before = served.state
        after = next_state(before, domain, dynamics, derive(self.seed, "retrain", step))
        after.save(folder)
        parent = worker.checkpoint
        moved = max(abs(after.helpful - before.helpful), abs(after.harmful - before.harmful))
        return Checkpoint(
            parent.number + 1,
            folder,
            parent.number,
            f"teacher:{domain}",
            {"weights_moved": significant(moved), "controls": []},
        )


T = TypeVar("T")

_PROBES = 100
"""Pairs that the simulated Teacher shows, to see which share of them is swapped."""


def _draw(items: Sequence[T], count: int, seed: int) -> list[T]:
    """Draw without replacement; all of them, in random order, where there are not as many."""
    order = np.random.default_rng(seed).permutation(len(items))
    return [items[i] for i in order[:count]]


def trainable(worker: Worker) -> ModelWorker:
    """Return a Worker that can be trained here.

    Raises:
        ModelError: It cannot: its weights are elsewhere, or it has none.
    """
    if not isinstance(worker, ModelWorker) or parse(worker.name).kind in ("endpoint", "simulated"):
        name = getattr(worker, "name", type(worker).__name__)
        raise ModelError(
            f"{name} cannot be trained here", "use a bundled model, a hub id, a folder or a .gguf"
        )
    return worker


@contextmanager
def _told(progress: Progress, what: str) -> Iterator[None]:
    progress(what, 0, 1)
    yield
    progress(what, 1, 1)
