"""Damages of the loop and the User."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from custodes.experts.expert import Rating
from custodes.oversight.loop import Loop
from custodes.oversight.users.dataset import DatasetUser
from custodes.oversight.worker import ModelWorker
from mutants.mutant import Mutant, patched
from mutants.teacher import other

LOOP = ("ratings", "steps", "checkpoints", "verdicts", "answers change")


def rolled(original: Any) -> Any:
    def rate(self: Any, step: int, active: Any, queries: Any, responses: Any) -> Any:
        return original(self, step, active, queries, [*responses[1:], *responses[:1]])

    return rate


def secretly_flipped(original: Any) -> Any:
    def rate(self: Any, *args: Any) -> Any:
        ratings, effects = original(self, *args)
        return {
            d: replace(r, seen=tuple(Rating(1 - x.value if x.value is not None else None)
                                     for x in r.seen)) for d, r in ratings.items()
        }, effects  # fmt: skip

    return rate


def one_domain(original: Any) -> Any:
    def rate(self: Any, *args: Any) -> Any:
        ratings, effects = original(self, *args)
        ratings.pop("helpfulness", None)
        return ratings, effects

    return rate


def cached(original: Any) -> Any:
    memory: dict[Any, Any] = {}

    def samples(self: Any, queries: Any, n: int, seed: int) -> Any:
        missing = [q for q in queries if (q.id, n) not in memory]
        for q, texts in zip(missing, original(self, missing, n, seed), strict=True):
            memory[q.id, n] = texts
        return [memory[q.id, n] for q in queries]

    return samples


def stale_at(original: Any) -> Any:
    def at(self: Any, checkpoint: Any) -> Any:
        worker = original(self, replace(checkpoint, adapter=self.checkpoint.adapter))
        assert worker.serving
        worker._checkpoint = checkpoint
        return worker

    return at


def first_always(original: Any) -> Any:
    return lambda self, step: original(self, 0)[:1] * len(original(self, step))


def mislabelled(original: Any) -> Any:
    return lambda self, step: [replace(q, domain=other(q.domain)) for q in original(self, step)]


def wrong_retrain(original: Any) -> Any:
    return lambda self, step, domain: original(self, step, other(domain))


MUTANTS = [
    Mutant(
        "answers are rated with their neighbours' queries",
        "loop",
        patched(Loop, "rate", rolled),
        LOOP,
    ),
    Mutant("the Overseer sees 1 - v", "loop", patched(Loop, "rate", secretly_flipped), LOOP),
    Mutant("one domain is not rated", "loop", patched(Loop, "rate", one_domain), LOOP),
    Mutant(
        "replies are cached over checkpoints", "loop", patched(ModelWorker, "samples", cached), LOOP
    ),
    Mutant(
        "old weights are served after a retrain",
        "loop",
        patched(ModelWorker, "at", stale_at),
        (*LOOP, "gold score follows"),
    ),
    Mutant(
        "another domain is retrained than the verdict says",
        "loop",
        patched(Loop, "retrain", wrong_retrain),
        LOOP,
    ),
    Mutant(
        "the User asks one query all the time",
        "User",
        patched(DatasetUser, "ask", first_always),
        ("User",),
    ),
    Mutant(
        "the User's queries have the wrong domain",
        "User",
        patched(DatasetUser, "ask", mislabelled),
        ("User asks in the domain",),
    ),
]
