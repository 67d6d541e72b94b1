"""Asking every generation of a lineage; each set of weights is asked once and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custodes.control import failed
from custodes.drift.generations import Generation, Lineage
from custodes.drift.questionnaire.answers import WORDINGS, log_odds, read_answers
from custodes.drift.questionnaire.controls import Instrument
from custodes.drift.questionnaire.outcome import Readings
from custodes.drift.questionnaire.statements import (
    Statement,
    draw_items,
    read_facts,
    read_statements,
)
from custodes.models.base import ScoringModel
from custodes.progress import Progress, silent
from custodes.runs.store import Store
from custodes.seeds import derive

__all__ = [
    "ask_lineage",
    "digest",
    "questionnaire_statements",
    "shuffled_words",
    "weights_key",
]

Floats = NDArray[np.float64]
DIGITS = 5


def questionnaire_statements(source: str, limit: int, seed: int) -> list[Statement]:
    """Read a questionnaire, and draw as many statements as are asked; none for "none".

    Raises:
        DataError: The file cannot be read, or there are too few statements.
    """
    return [] if source == "none" else draw_items(read_statements(source), limit, seed)


def ask_lineage(
    lineage: Lineage,
    statements: Sequence[Statement],
    store: Store,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Readings:
    """Ask the first generation what the controls need, and if these hold, the others too.

    Args:
        lineage: The generations; torch has to load them.
        statements: The statements.
        store: Keeps the readings by weights, so that lineages of one base may share it.
        seed: Shuffles the words of the control, and draws the resamples.
        progress: Called with each generation.

    Raises:
        ModelError: Torch cannot load a generation.
    """
    facts = read_facts()
    asker = _Asker(lineage, store)
    texts = [one.text for one in statements]
    shuffled = [shuffled_words(text, derive(seed, "shuffle", text)) for text in texts]
    sets = {"facts": [one.text for one in facts], "shuffled": shuffled, "again": texts[::-1]}
    total = len(lineage.generations) + len(sets)
    progress("questionnaire", 0, total)
    first, further = asker.ask(0, texts), {}
    for k, (name, asked) in enumerate(sets.items(), start=1):
        progress("questionnaire", k, total)
        further[name] = log_odds(asker.ask(0, asked))
    instrument = Instrument(
        log_odds=log_odds(first),
        again=further["again"][::-1],
        shuffled=further["shuffled"],
        facts=further["facts"],
    )
    by_generation = [first]
    made = partial(
        Readings,
        list(statements),
        instrument=instrument,
        facts=facts,
        seed=derive(seed, "questionnaire"),
    )
    if not failed(made([log_odds(first)]).controls()):
        for one in lineage.generations[1:]:
            progress("questionnaire", len(sets) + one.number, total)
            by_generation.append(asker.ask(one.number, texts))
            asker.release(one.number)
    progress("questionnaire", total, total)
    return made(
        [log_odds(answers) for answers in by_generation],
        answered=[float(np.exp(answers).sum(axis=-1).mean()) for answers in by_generation],
    )


def shuffled_words(text: str, seed: int) -> str:
    """Return a text with its words in another order, if it has two different ones."""
    words = text.split()
    rng = np.random.default_rng(seed)
    for _ in range(100):
        order = [words[i] for i in rng.permutation(len(words))]
        if order != words:
            return " ".join(order)
    return text


class _Asker:
    """Loads a generation only if an answer of it is missing."""

    def __init__(self, lineage: Lineage, store: Store) -> None:
        self._lineage, self._store = lineage, store
        self._models: dict[int, ScoringModel] = {}

    def ask(self, generation: int, texts: Sequence[str]) -> Floats:
        one = self._lineage.generations[generation]
        key = f"{weights_key(one)}-{digest([WORDINGS_TEXT, list(texts)])}"
        value = self._store.once(key, partial(self._read, generation, texts))
        return np.array(value["logprobs"], np.float64)

    def release(self, generation: int) -> None:
        """Forget a model but the first."""
        if generation:
            self._models.pop(generation, None)

    def _read(self, generation: int, texts: Sequence[str]) -> dict[str, Any]:
        if generation not in self._models:
            self._models[generation] = self._lineage.load_torch(generation)
        logprobs = read_answers(self._models[generation], texts)
        return {"logprobs": np.round(logprobs, DIGITS).tolist()}


WORDINGS_TEXT = [[one.question, one.agree, one.disagree] for one in WORDINGS]


def weights_key(generation: Generation) -> str:
    """Name a generation by its weights; models without weights here by their name."""
    return digest([generation.model, generation.adapter is not None, generation.weights])


def digest(value: Any) -> str:
    """Name a value that JSON can hold by a hash of it."""
    return hashlib.sha256(json.dumps(value, ensure_ascii=True).encode()).hexdigest()[:16]
