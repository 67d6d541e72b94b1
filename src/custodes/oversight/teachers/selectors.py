"""Experts for self-training: the Worker's own likelihood, and chance.

Their ratings say nothing about a domain; a Teacher uses them to rank the Worker's own answers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

from custodes.conversation import Query
from custodes.experts.expert import Rating
from custodes.models.resolve import load_torch
from custodes.oversight.worker import ModelWorker

__all__ = ["ChanceExpert", "LikelihoodExpert"]


class LikelihoodExpert:
    """Rates an answer by how probable the Worker itself finds it.

    The rating is the geometric mean of its tokens' probabilities, in [0, 1], without sampling
    warpers; an empty answer is an abstention.

    Args:
        domain: The domain in which it takes an Expert's place.
        worker: The Worker, at its current weights.
    """

    def __init__(self, domain: str, worker: ModelWorker) -> None:
        self.domain, self._worker = domain, worker
        self.name = "own likelihood"
        self.version = f"likelihood-{worker.checkpoint.number}"

    def rate(self, queries: Sequence[Query], responses: Sequence[str]) -> list[Rating]:
        """Score all answers in one batch."""
        indices = [i for i, text in enumerate(responses) if text]
        ratings = [Rating(None, "empty")] * len(responses)
        if not indices:
            return ratings
        model = load_torch(self._worker.name, adapter=self._worker.checkpoint.adapter)
        scores = model.logprobs([queries[i].chat for i in indices], [responses[i] for i in indices])
        for i, row in zip(indices, scores, strict=True):
            ratings[i] = Rating(math.exp(row.total / max(1, len(row.tokens))))
        return ratings

    def report(self) -> dict[str, Any]:
        """Return its kind; there are no labels to compare it with."""
        return {"kind": "likelihood", "controls": []}


class ChanceExpert:
    """Rates by a hash of query, answer and seed: what self-training does without any selection.

    Args:
        domain: The domain in which it takes an Expert's place.
        seed: Enters the hash.
    """

    def __init__(self, domain: str, seed: int = 0) -> None:
        self.domain, self._seed = domain, seed
        self.name = "chance"
        self.version = f"chance-{seed}"

    def rate(self, queries: Sequence[Query], responses: Sequence[str]) -> list[Rating]:
        """Rate uniformly in [0, 1); equal answers to one query get equal ratings."""
        return [Rating(self._draw(q, r)) for q, r in zip(queries, responses, strict=True)]

    def report(self) -> dict[str, Any]:
        """Return its kind."""
        return {"kind": "chance", "controls": []}

    def _draw(self, query: Query, response: str) -> float:
        text = "\x1f".join((str(self._seed), query.text, response))
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:6], "big") / 2**48
