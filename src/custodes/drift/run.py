"""``custodes drift``: a lineage sampled generation by generation, in a folder to resume from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from custodes.conversation import Query
from custodes.data import SHIPPED, read_prompts
from custodes.diff.responses import Responses
from custodes.drift.concepts import concept_shifts, hidden_means, read_concepts
from custodes.drift.config import DriftConfig
from custodes.drift.generations import Lineage, read_generations
from custodes.drift.lineage import NOT_REQUESTED, Drift, follow, round_seed
from custodes.drift.output import save
from custodes.drift.questionnaire.lineage import ask_lineage, questionnaire_statements
from custodes.drift.questionnaire.outcome import questionnaire_outcome
from custodes.drift.questionnaire.statements import Statement
from custodes.errors import DataError, ModelError, RunError
from custodes.models.base import LanguageModel, Sampling
from custodes.progress import Progress, silent
from custodes.runs.folder import RunFolder
from custodes.runs.store import Store
from custodes.seeds import derive

__all__ = ["run_drift"]

BATCH = 48
"""Prompts in one batch; a run that is killed loses at most one batch."""


def run_drift(config: DriftConfig, folder: Path, *, progress: Progress = silent) -> Drift:
    """Sample every generation of a lineage, and test how it drifts.

    If it is killed, the same call continues where it stopped. If the run has new generations, the
    same call samples only those. Write the report with
    ``custodes.report.drift.write_drift_report``.

    Args:
        config: The lineage, and how to test it.
        folder: Holds the responses and drift.json; created if missing.
        progress: Called as stages begin and end.

    Raises:
        CustodesError: An error that the user can correct, in one line; finished work is kept.
    """
    lineage = read_generations(config.sources)
    queries = _queries(config)
    concepts = read_concepts(config.concepts)
    statements = questionnaire_statements(config.questionnaire, config.statements, config.seed)
    settings = _settings(config, lineage, queries, concepts, statements)
    with RunFolder(folder, settings) as run:
        for note in run.notes:
            progress(note, 1, 1)
        _check_lineage(run, lineage)
        sampler = _Sampler(run, lineage, queries, config, progress)
        names = [generation.label for generation in lineage.generations]
        parents = [generation.parent for generation in lineage.generations]
        drift = replace(
            follow(sampler.sample, names, parents, fdr=config.alpha),
            about=tuple(sampler.served),
            notes=tuple(sampler.notes),
            concepts=_concepts(run, lineage, concepts, config.seed, progress),
            questionnaire=_questionnaire(run, lineage, statements, config.seed, progress),
        )
        progress("writing", 0, 1)
        save(drift, folder, about=settings | {"name": lineage.name})
        progress("writing", 1, 1)
    return drift


def _queries(config: DriftConfig) -> list[Query]:
    if config.prompts is None:
        queries = [q for name in SHIPPED for q in read_prompts(name, domain="", split="gold")]
    else:
        queries = read_prompts(config.prompts, domain="")
    if config.limit is not None and config.limit < len(queries):
        order = np.random.default_rng(derive(config.seed, "limit")).permutation(len(queries))
        queries = [queries[i] for i in sorted(order[: config.limit].tolist())]
    return queries


def _sampling(config: DriftConfig, lineage: Lineage) -> Sampling:
    """Return the sampling parameters: the config's, else those of the run's Worker."""
    own = lineage.settings
    temperature = config.temperature
    if temperature is None:
        temperature = float(own.get("temperature", 0.8))
    if temperature == 0:
        raise DataError(
            "the run's Worker decodes greedily, and every round needs responses drawn anew",
            "give a temperature, e.g. --temperature 0.8",
        )
    tokens = int(own.get("max_tokens", 64)) if config.max_tokens is None else config.max_tokens
    top_p = float(own.get("top_p", 1.0))
    return Sampling(
        max_tokens=tokens, temperature=temperature, top_p=top_p, n=config.samples, seed=config.seed
    )


def _settings(
    config: DriftConfig,
    lineage: Lineage,
    queries: Sequence[Query],
    concepts: dict[str, list[str]],
    statements: Sequence[Statement],
) -> dict[str, Any]:
    """Return the settings that a folder keeps: all but the later generations, which may grow."""
    sampling = _sampling(config, lineage)
    prompts = [(query.id, query.text, query.chat) for query in queries]
    return {
        "verb": "drift",
        "first": lineage.generations[0].about(),
        "prompts": {"count": len(prompts), "digest": _digest(prompts)},
        "samples": config.samples,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "alpha": config.alpha,
        "concepts": _digest(concepts),
        "questionnaire": _digest([asdict(one) for one in statements]),
        "engine": config.engine,
        "seed": config.seed,
    }


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_lineage(run: RunFolder, lineage: Lineage) -> None:
    """Refuse a folder that holds another lineage; one that has grown since is the same."""
    for event in run.log.of("generation"):
        number = event["generation"]
        now = lineage.generations[number : number + 1]
        if not now or {k: event[k] for k in now[0].about()} != now[0].about():
            raise RunError(
                f"{run.path} holds the drift of another lineage (generation {number} was "
                f"{event['name']} {event['weights']})",
                "choose another folder with --out, or delete this one",
            )


class _Sampler:
    """Samples generations and logs every batch; a model is loaded only if a batch is missing.

    Attributes:
        served: Facts about the generations that were sampled, as logged.
        notes: What a reader should know about the responses, one line each.
    """

    def __init__(
        self,
        run: RunFolder,
        lineage: Lineage,
        queries: Sequence[Query],
        config: DriftConfig,
        progress: Progress,
    ) -> None:
        self._run, self._lineage, self._queries = run, lineage, queries
        self._config, self._progress = config, progress
        self._sampling = _sampling(config, lineage)
        self._models: dict[int, LanguageModel] = {}
        self.served: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self._enter(0)

    def sample(self, generation: int, number: int, purpose: str) -> Responses:
        """Return the responses of a round: see `custodes.drift.lineage.Sampler`."""
        if generation == len(self.served):
            self._enter(generation)
        label = self._lineage.generations[generation].label
        task = f"round {number}: {label[-40:]}{' ' + purpose if purpose else ''}"
        sampling = self._sampling.seeded(round_seed(self._sampling.seed, number, purpose))
        texts: list[tuple[str, ...]] = []
        for start in range(0, len(self._queries), BATCH):
            self._progress(task, start, len(self._queries))
            event = self._run.log.once(
                "responses",
                partial(self._batch, generation, start, sampling),
                generation=generation,
                round=number,
                purpose=purpose,
                start=start,
            )
            texts += [tuple(answers) for answers in event["texts"]]
        self._progress(task, len(self._queries), len(self._queries))
        self._note_empty(label, number, texts)
        return Responses(
            name=label,
            ids=tuple(query.id for query in self._queries),
            prompts=tuple(query.text for query in self._queries),
            texts=tuple(texts),
        )

    def _enter(self, generation: int) -> None:
        about = self._lineage.generations[generation].about()

        def served() -> dict[str, Any]:
            model = self._model(generation)
            return {"engine": model.engine, "version": model.version}

        event = self._run.log.once("generation", served, **about)
        self.served.append({k: event[k] for k in (*about, "engine", "version")})
        if event["engine"] != self.served[0]["engine"]:
            self.notes.append(
                f"{event['name']} was served by {event['engine']}, the first generation by "
                f"{self.served[0]['engine']}: part of the drift may be due to them"
            )

    def _batch(self, generation: int, start: int, sampling: Sampling) -> dict[str, Any]:
        chats = [query.chat for query in self._queries[start : start + BATCH]]
        # Each batch has a seed of its own: an engine that seeds a batch as a whole would draw the
        # same numbers for every batch.
        seeded = sampling.seeded(derive(sampling.seed, "batch", start))
        return {"texts": self._model(generation).generate(chats, seeded)}

    def _model(self, generation: int) -> LanguageModel:
        """Load a generation; besides it only the first stays in memory."""
        if generation not in self._models:
            for old in [g for g in self._models if g != 0]:
                del self._models[old]
            self._progress("loading models", 0, 1)
            self._models[generation] = self._lineage.load(generation, self._config.engine)
            self._progress("loading models", 1, 1)
        return self._models[generation]

    def _note_empty(self, label: str, number: int, texts: Sequence[tuple[str, ...]]) -> None:
        empty = sum(not text.strip() for answers in texts for text in answers)
        total = sum(map(len, texts))
        if empty > total / 2:
            self.notes.append(
                f"{empty} of {total} responses of {label} in round {number} are empty"
            )


def _concepts(
    run: RunFolder,
    lineage: Lineage,
    concepts: dict[str, list[str]],
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Compare the concepts in every generation with the first, if torch can load them all."""
    if not concepts:
        return {"left_out": NOT_REQUESTED}
    read = _Reader(lineage, concepts, progress)
    # Apart from the log, which goes generation by generation and may grow.
    stages = Store(run.path / "concepts" / _digest(concepts))
    generations = []
    for generation in lineage.generations[1:]:
        t = generation.number
        try:
            made = stages.once(f"generation-{t}", partial(read.shifts, t, seed))
            control = stages.once("control", partial(read.control, seed))
        except ModelError as error:
            return {"left_out": f"{generation.label}: {error}"}
        generations.append({"generation": t, "pairs": made["pairs"]})
    return {
        "layer": made["layer"],
        "sentences": {name: len(sentences) for name, sentences in concepts.items()},
        "generations": generations,
        "control": control,
    }


def _questionnaire(
    run: RunFolder,
    lineage: Lineage,
    statements: Sequence[Statement],
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Ask every generation what it agrees with, if torch can load them all."""
    if not statements:
        return {"left_out": NOT_REQUESTED}
    store = Store(run.path / "questionnaire")
    try:
        readings = ask_lineage(lineage, statements, store, seed=seed, progress=progress)
    except ModelError as error:
        return {"left_out": str(error)}
    return questionnaire_outcome(readings)


class _Reader:
    """Reads the hidden states of concepts, once for each generation."""

    def __init__(
        self, lineage: Lineage, concepts: dict[str, list[str]], progress: Progress
    ) -> None:
        self._lineage, self._concepts, self._progress = lineage, concepts, progress
        self._first: dict[str, np.ndarray] | None = None
        self._layer = 0

    def shifts(self, generation: int, seed: int) -> dict[str, Any]:
        """Return how concept pairs moved, JSON-ready."""
        before = self._read_first()
        self._progress("concepts", generation, len(self._lineage.generations))
        now = hidden_means(self._lineage.load_torch(generation), self._concepts, self._layer)
        self._progress("concepts", generation + 1, len(self._lineage.generations))
        shifts = concept_shifts(before, now, derive(seed, "concepts"))
        rows = [asdict(shift) | {"drifted": shift.drifted} for shift in shifts]
        return {"layer": self._layer, "pairs": [_rounded(row) for row in rows]}

    def control(self, seed: int) -> dict[str, Any]:
        """Read the first generation again, its sentences in another order: nothing may move."""
        before = self._read_first()
        reverse = {name: texts[::-1] for name, texts in reversed(self._concepts.items())}
        again = hidden_means(self._lineage.load_torch(0), reverse, self._layer)
        same = {name: again[name][::-1] for name in self._concepts}
        shifts = concept_shifts(before, same, derive(seed, "concepts"))
        return {
            "findings": sum(shift.drifted for shift in shifts),
            "largest": float(f"{max(abs(s.now - s.before) for s in shifts):.3g}"),
        }

    def _read_first(self) -> dict[str, np.ndarray]:
        if self._first is None:
            self._progress("concepts", 0, len(self._lineage.generations))
            model = self._lineage.load_torch(0)
            # Two thirds up, where concepts are best read off a model (Zou et al. 2023).
            self._layer = round(2 * model.model.config.num_hidden_layers / 3)
            self._first = hidden_means(model, self._concepts, self._layer)
        return self._first


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in row.items()}
