"""A run of ``custodes align`` while it runs: its folder, its models and its Experts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from custodes.constitution.config import AlignConfig, MeasureOptions
from custodes.constitution.measures import MEASURES, MeasureExpert
from custodes.constitution.principles import Constitution
from custodes.constitution.replies import Replies
from custodes.control import Control
from custodes.conversation import Message, Query
from custodes.errors import ConfigError, DataError, RunError, near_misses
from custodes.experts.expert import Expert
from custodes.models.base import LanguageModel, Sampling
from custodes.models.memory import release_memory
from custodes.models.resolve import Engine, load
from custodes.oversight.gold.score import Scorer
from custodes.oversight.worker import BASE, ModelWorker
from custodes.progress import Progress
from custodes.runs.files import dumps, write_atomic
from custodes.runs.folder import RunFolder
from custodes.runs.lineage import Checkpoint
from custodes.runs.log import read_log
from custodes.runs.store import Store

if TYPE_CHECKING:
    from custodes.experts.heads.head import HeadExpert

__all__ = ["HELPFULNESS", "AlignRun", "StageResult", "build_expert", "build_scorer", "query_of"]

HELPFULNESS = "helpfulness"
_RATED_AT_ONCE = 128


@dataclass(frozen=True)
class StageResult:
    """What a stage leaves beside its files.

    Attributes:
        facts: Counts and measurements, JSON-ready. They hold no times.
        controls: What would have exposed a stage that did nothing.
        stop: Why the pipeline should not go on; "" where it may.
        checkpoints: Models it made.
    """

    facts: Mapping[str, Any]
    controls: Sequence[Control] = ()
    stop: str = ""
    checkpoints: Sequence[Checkpoint] = ()


def build_expert(config: AlignConfig, domain: str) -> Expert:
    """Make the Expert that rates a domain within the training.

    Raises:
        ConfigError: Nobody rates the domain.
        CustodesError: The Expert cannot be loaded.
    """
    options = next((one for one in config.experts if one.domain == domain), None)
    if options is None:
        return _named(domain, domain)
    if options.kind == "judge":
        from custodes.experts.judges.judge import LLMJudge

        return LLMJudge(load(options.model), domain)
    if isinstance(options, MeasureOptions):
        return MeasureExpert(options.measure or domain, domain)
    return _named(options.head or domain, domain)


def build_scorer(config: AlignConfig, domain: str) -> Scorer:
    """Make the judge that compares the models in a domain, which no stage has seen.

    Raises:
        ConfigError: There is none of that name, or it judges another domain.
    """
    name = (config.report.experts or {}).get(domain, f"{domain}-gold")
    return _named(name, domain)


def _named(name: str, domain: str) -> HeadExpert | MeasureExpert:
    """Return the head or the measure of a name."""
    if name in MEASURES:
        return MeasureExpert(name, domain)
    from custodes.experts.heads.head import load_expert, shipped

    if name not in shipped() and Path(name).suffix != ".safetensors":
        raise ConfigError(
            f"nobody rates {domain!r} (no Expert is called {name!r})",
            f"{near_misses(name, [*MEASURES, *shipped()])}; or list one under experts",
        )
    return load_expert(name, domain=domain)


@dataclass
class AlignRun:
    """Everything that the stages share.

    Attributes:
        config: The config.
        constitution: The principles that are trained by; the inverses where the run is inverted.
        folder: The run's folder.
        store: The results of finished stages.
        replies: The replies of models.
        progress: Called as stages go on.
    """

    config: AlignConfig
    constitution: Constitution
    folder: RunFolder
    store: Store
    replies: Replies
    progress: Progress
    _experts: dict[str, Expert] = field(default_factory=dict)

    # Files

    def path(self, name: str) -> Path:
        """Return a data file; those of an inverted run are marked in their names."""
        mark = "-inverted" if self.config.inverted else ""
        return self.folder.path / "data" / f"{name}{mark}.jsonl"

    def write(self, name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Write a data file whole, and return what a stage's facts say about it."""
        content = "".join(f"{dumps(row)}\n" for row in rows).encode()
        path = self.path(name)
        write_atomic(path, content)
        digest = hashlib.sha256(content).hexdigest()
        return {"file": f"data/{path.name}", "rows": len(rows), "sha256": digest}

    def read(self, name: str, stage: str) -> list[dict[str, Any]]:
        """Read a data file of an earlier stage.

        Raises:
            RunError: That stage has not been run in this folder.
        """
        path = self.path(name)
        if not path.exists():
            raise RunError(
                f"{self.folder.path} has no {path.name}", f"run the stage {stage} before this one"
            )
        return read_log(path)

    # Models

    def checkpoint(self, number: int) -> Checkpoint | None:
        """Return a checkpoint that is recorded in the log; 0 is the base."""
        if number == 0:
            return BASE
        for event in self.folder.log.of("checkpoint"):
            if event["checkpoint"] == number:
                return Checkpoint.from_event(event, self.folder.path)
        return None

    def latest(self, *numbers: int) -> Checkpoint:
        """Return the first of these checkpoints that exists, else the base."""
        made = (self.checkpoint(number) for number in numbers)
        return next((checkpoint for checkpoint in made if checkpoint is not None), BASE)

    def worker(self, checkpoint: Checkpoint) -> ModelWorker:
        """Return the Worker with some weights; it is loaded when it first answers."""
        options = self.config.worker
        return ModelWorker(
            options.model, self.sampling, engine=options.engine, checkpoint=checkpoint
        )

    @property
    def sampling(self) -> Sampling:
        """How the Worker samples."""
        options = self.config.worker
        return Sampling(
            max_tokens=options.max_tokens, temperature=options.temperature, top_p=options.top_p
        )

    def samples(
        self,
        purpose: str,
        checkpoint: Checkpoint,
        queries: Sequence[Query],
        n: int,
        seed: int,
        *,
        max_tokens: int | None = None,
    ) -> list[list[str]]:
        """Answer each query ``n`` times with a checkpoint, in batches that are kept.

        Args:
            purpose: Names the file and the progress.
            checkpoint: The weights that answer.
            queries: The queries.
            n: Answers to each.
            seed: Seeds the batches.
            max_tokens: Longest answer; as long as the Worker may answer by default.
        """
        worker = self.worker(checkpoint)
        chats = [query.chat for query in queries]
        sampling = replace(
            self.sampling, n=n, seed=seed, max_tokens=max_tokens or self.sampling.max_tokens
        )
        name = f"{worker.name}@{checkpoint.number}"
        try:
            return self.replies.texts(purpose, lambda: worker.serving, name, chats, sampling)
        finally:
            worker.release()

    @contextmanager
    def asking(self, name: str) -> Iterator[_Lazy]:
        """Open another model, which is loaded when it is first asked, and let it go afterwards.

        Args:
            name: Any model name; "worker" for the Worker's own base.
        """
        worker = self.config.worker
        lazy = _Lazy(worker.model, worker.engine) if name == "worker" else _Lazy(name)
        try:
            yield lazy
        finally:
            lazy.release()

    # Experts

    def expert(self, domain: str) -> Expert:
        """Return the training's Expert for a domain."""
        if domain not in self._experts:
            self._experts[domain] = build_expert(self.config, domain)
        return self._experts[domain]

    def ratings(
        self, purpose: str, domain: str, queries: Sequence[Query], texts: Sequence[str]
    ) -> list[float | None]:
        """Rate answers, in batches that are kept; None where the Expert abstains.

        Raises:
            CustodesError: The Expert abstained on all of them.
        """
        expert = self.expert(domain)
        items = [[list(query.chat), text] for query, text in zip(queries, texts, strict=True)]

        def call(batch: Sequence[Any], _: int) -> list[Any]:
            asked = [Query(str(i), tuple(chat)) for i, (chat, _) in enumerate(batch)]
            return [r.value for r in expert.rate(asked, [text for _, text in batch])]

        values = self.replies.batches(
            purpose, [expert.version], items, 0, call, size=_RATED_AT_ONCE
        )
        if values and all(value is None for value in values):
            raise DataError(
                f"the Expert {expert.name} has rated none of {len(values)} answers",
                f"use another Expert for {domain}; what was done is kept",
            )
        return values


class _Lazy:
    """A model that is loaded when it is first asked."""

    def __init__(self, name: str, engine: Engine = "auto") -> None:
        self.name, self._engine = name, engine
        self._model: LanguageModel | None = None

    def __call__(self) -> LanguageModel:
        if self._model is None:
            self._model = load(self.name, engine=self._engine)
        return self._model

    def release(self) -> None:
        """Let the model go."""
        if self._model is not None:
            self._model = None
            release_memory()


def query_of(row: Mapping[str, Any], domain: str = "") -> Query:
    """Return the query of a data file's row, whose ``prompt`` is text or messages."""
    prompt = row["prompt"]
    chat: tuple[Message, ...] = (
        ({"role": "user", "content": prompt},) if isinstance(prompt, str) else tuple(prompt)
    )
    return Query(str(row["id"]), chat, domain, str(row.get("topic", "")))
