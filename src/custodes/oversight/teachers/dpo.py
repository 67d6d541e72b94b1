"""The Teacher: retrains the Worker where it fails, by SFT and then DPO on its own best answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from custodes.conversation import Demonstration, PreferencePair, Query
from custodes.data.datasets import read_pairs
from custodes.errors import ConfigError, near_misses
from custodes.experts.expert import Expert, Rating
from custodes.models.resolve import load_torch
from custodes.oversight.roles import Worker
from custodes.oversight.teachers.answers import draw, draw_agreed, rate_answers
from custodes.oversight.teachers.preference_pairs import DomainPairs, PreferenceData, rank
from custodes.oversight.teachers.trainable import trainable
from custodes.oversight.worker import ModelWorker
from custodes.progress import Progress, silent
from custodes.runs.lineage import Checkpoint
from custodes.runs.store import Store
from custodes.seeds import derive
from custodes.training.card import write_card
from custodes.training.dpo import DpoOptions, dpo
from custodes.training.lora import LoraOptions
from custodes.training.sequence import Method, train_in_sequence
from custodes.training.sft import SftOptions, sft

__all__ = ["DpoTeacher", "TeacherOptions"]


@dataclass(frozen=True)
class TeacherOptions:
    """How the Worker is retrained.

    Attributes:
        prompts: Queries that a retrain asks, or pairs it draws from a preference file.
        samples: Answers to each query; the best and the worst make a pair.
        margin: Pairs whose ratings are closer than this are dropped.
        mix: Share of ``prompts`` that come from the other domains, so that learning one does not
            unlearn the others.
        preferences: By domain: a preference file to learn from instead of the Worker's answers. A
            pair counts by its ``agreement`` a: it is drawn with the probability 2a - 1.
        sft: Supervised fine-tuning on the chosen answers, which comes first.
        dpo: Preference optimisation on the pairs.
        lora: Shape of the adapter of a Worker that has none yet.
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

    It learns from the failing domain's preference file, where there is one, or else from the
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
            queries: By domain, what it may ask: prompts of the loop, never gold prompts.
            experts: By domain, the Expert that ranks the answers.
            options: The data and the training.
            seed: Draws the queries and the answers, and seeds the training.
            progress: Called with each stage.

        Raises:
            ConfigError: A preference file is for an unknown domain.
        """
        for domain in options.preferences or {}:
            if domain not in queries:
                raise ConfigError(
                    f"teacher.preferences: no domain {domain!r}", near_misses(domain, queries)
                )
        self.queries, self.experts, self.options = queries, experts, options
        self.seed, self.progress = seed, progress

    def gather(self, worker: Worker, domain: str, step: int, folder: Path) -> PreferenceData:
        """Gather the pairs of the failing domain, and of those that are mixed in.

        ``folder`` keeps the answers and their ratings (see `custodes.oversight.roles.Teacher`).

        Raises:
            ConfigError: There is no such domain.
            ModelError: The Worker cannot be trained here.
            CustodesError: The Expert abstained on all answers.
        """
        if domain not in self.queries:
            raise ConfigError(f"no domain {domain!r}", near_misses(domain, self.queries))
        worker = trainable(worker)
        seed, stages = derive(self.seed, "retrain", step), Store(folder / "stages")
        by_domain = {
            name: self._domain_pairs(worker, name, count, derive(seed, name), stages)
            for name, count in self._counts(domain).items()
        }
        return PreferenceData(domain, by_domain)

    def train(
        self,
        worker: Worker,
        domain: str,
        step: int,
        folder: Path,
        data: PreferenceData,
        pairs: Sequence[PreferencePair],
    ) -> Checkpoint:
        """Make the next checkpoint.

        ``folder`` gets the adapter, a card, and the finished stages. Where the failing domain has
        no pair the checkpoint has its parent's weights, and a control fails.

        Raises:
            ModelError: The Worker cannot be trained here.
            CustodesError: The training failed.
        """
        worker = trainable(worker)
        parent, seed = worker.checkpoint, derive(self.seed, "retrain", step)
        training: dict[str, Any] = {"weights_moved": 0.0, "controls": []}
        if data.sufficient:
            training = self._train(worker, pairs, seed, folder)
        controls = [control.to_dict() for control in data.controls()]
        checkpoint = Checkpoint(
            number=parent.number + 1,
            adapter=folder if data.sufficient else parent.adapter,
            parent=parent.number,
            intervention=f"teacher:{domain}",
            metrics={
                **training,
                "data": data.facts,
                "controls": [*controls, *training["controls"]],
            },
        )
        write_card(folder, checkpoint, worker.base)
        return checkpoint

    # The pairs

    def _counts(self, domain: str) -> dict[str, int]:
        """Return how many queries or pairs each domain gives, the failing one first."""
        others = [name for name in self.queries if name != domain]
        each = round(self.options.prompts * self.options.mix / len(others)) if others else 0
        counts = {domain: self.options.prompts - each * len(others)}
        return counts | (dict.fromkeys(others, each) if each else {})

    def _domain_pairs(
        self, worker: ModelWorker, domain: str, count: int, seed: int, stages: Store
    ) -> DomainPairs:
        """Read a domain's pairs from its preference file, or make them of the Worker's answers."""
        file = (self.options.preferences or {}).get(domain)
        if file is not None:
            known = read_pairs(file)
            pairs = draw_agreed(known, count, seed)
            facts = {"preferences": Path(file).name, "pairs": len(pairs), "of": len(known)}
            return DomainPairs(pairs, facts)
        queries = draw(self.queries[domain], count, seed)
        answers = stages.once(
            f"answers-{domain}",
            lambda: self._sample(worker, domain, queries, derive(seed, "answer")),
        )
        values = stages.once(f"ratings-{domain}", lambda: self._rate(domain, queries, answers))
        ratings = [[Rating(value) for value in row] for row in values]
        return rank(queries, answers, ratings, self.options.margin)

    def _sample(
        self, worker: ModelWorker, domain: str, queries: Sequence[Query], seed: int
    ) -> list[list[str]]:
        with _stage(self.progress, f"answers to learn {domain} from"):
            return worker.samples(queries, self.options.samples, seed)

    def _rate(
        self, domain: str, queries: Sequence[Query], answers: Sequence[Sequence[str]]
    ) -> list[list[float | None]]:
        with _stage(self.progress, f"ratings to learn {domain} from"):
            ratings = rate_answers(self.experts[domain], queries, answers)
        return [[rating.value for rating in row] for row in ratings]

    # The training

    def _train(
        self, worker: ModelWorker, pairs: Sequence[PreferencePair], seed: int, folder: Path
    ) -> dict[str, Any]:
        # The engine would be in memory beside the model that is trained; the old weights are done.
        worker.release()
        options = self.options
        rows = [
            Demonstration(id=pair.id, prompt=pair.prompt, response=pair.chosen) for pair in pairs
        ]
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
        return train_in_sequence(
            partial(load_torch, worker.base),
            worker.adapter,
            methods,
            folder=folder,
            lora=options.lora,
            seed=seed,
        )


@contextmanager
def _stage(progress: Progress, name: str) -> Iterator[None]:
    progress(name, 0, 1)
    yield
    progress(name, 1, 1)
