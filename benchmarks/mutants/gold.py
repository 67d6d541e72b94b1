"""Damages of the gold score, the perturbations, the statistics and the null run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np

from custodes.oversight import build, run
from custodes.oversight.controls import teaching
from custodes.oversight.gold.score import GoldPanel, SimulatedScorer
from custodes.oversight.perturbations.schedule import Disturbance
from mutants.mutant import Mutant, Plant, both, patched

GOLD = ("gold",)


def gold_split(original: Any) -> Any:
    def _prompts(sources: Any, config: Any, split: str) -> Any:
        return original(sources, config, "gold")

    return _prompts


def relabelled(original: Any) -> Any:
    def _prompts(sources: Any, config: Any, split: str) -> Any:
        prompts = original(sources, config, split)
        if split == "gold":
            return prompts
        gold = original(sources, config, "gold")
        return {
            d: [*qs[:60], *(replace(q, id=f"x{i}", chat=({"role": "user", "content": q.text.upper()},))
                            for i, q in enumerate(gold[d][:60]))]
            for d, qs in prompts.items()
        }  # fmt: skip

    return _prompts


def remembered_gold(original: Any) -> Any:
    memory: dict[int, Any] = {}

    def measure(self: Any, worker: Any, draw: int) -> Any:
        return memory.setdefault(0, original(self, worker, draw))

    return measure


def flipped_scores(original: Any) -> Any:
    return lambda self, queries, responses: -original(self, queries, responses)


def noise_scores(original: Any) -> Any:
    generator = np.random.default_rng(1)
    return lambda self, queries, responses: generator.normal(size=len(responses)).astype("float32")


def narrow(original: Any) -> Any:
    def change(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        c = found.change
        return replace(found, change=replace(c, low=c.mean - (c.mean - c.low) / 5,
                                             high=c.mean + (c.high - c.mean) / 5))  # fmt: skip

    return change


def negated(original: Any) -> Any:
    def change(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        c = found.change
        return replace(found, change=replace(c, mean=-c.mean, low=-c.high, high=-c.low))

    return change


def in_both(make: Callable[[Any], Any]) -> Plant:
    """Replace `gold_change` wherever it is imported."""
    from custodes.oversight.summary import summary

    return both(*(patched(room, "gold_change", make) for room in (summary, teaching)))


def silent_noise(original: Any) -> Any:
    def ratings(self: Any, name: str, domain: str, clean: Any) -> Any:
        seen = original(self, name, domain, clean)
        return replace(seen, value=list(clean))

    return ratings


def late(original: Any) -> Any:
    from custodes.oversight.perturbations.schedule import Schedule

    del Schedule
    return lambda self, step: original(self, max(step - 1, 0))


def schedule() -> Any:
    from custodes.oversight.perturbations.schedule import Schedule

    return Schedule


def teaching_null(_original: Any) -> Any:
    return lambda: SimulatedTeacherOf.last


class SimulatedTeacherOf:
    last: Any = None


def real_null() -> Plant:
    @contextmanager
    def plant() -> Any:
        def teacher(*args: Any) -> Any:
            SimulatedTeacherOf.last = original(*args)
            return SimulatedTeacherOf.last

        original = build._teacher
        with (
            patch.object(build, "_teacher", teacher),
            patch.object(run, "NullTeacher", lambda: SimulatedTeacherOf.last),
        ):
            yield

    return plant


NOISE = {"perturbations": [
    {"kind": "noisy_expert", "at": 4, "until": 8, "domain": "harmlessness", "sd": 0.3}
]}  # fmt: skip

MUTANTS = [
    Mutant("the User asks gold prompts", "gold", patched(build, "_prompts", gold_split), GOLD),
    Mutant(
        "gold prompts are among the User's, in capitals and under other ids",
        "gold",
        patched(build, "_prompts", relabelled),
        GOLD,
    ),
    Mutant(
        "the gold score of the first checkpoint is given for all",
        "gold",
        patched(GoldPanel, "measure", remembered_gold),
        (*GOLD, "answers change"),
    ),
    Mutant(
        "the gold score has its sign flipped",
        "gold",
        patched(SimulatedScorer, "logits", flipped_scores),
        GOLD,
    ),
    Mutant(
        "the gold score is noise", "gold", patched(SimulatedScorer, "logits", noise_scores), GOLD
    ),
    Mutant("intervals are a fifth as wide", "statistics", in_both(narrow), ("gold figures",)),
    Mutant("changes have the wrong sign", "statistics", in_both(negated), ("gold figures",)),
    Mutant(
        "a perturbation does nothing and says it did",
        "perturbation",
        patched(Disturbance, "ratings", silent_noise),
        ("perturb",),
        NOISE,
    ),
    Mutant(
        "perturbations act one step late",
        "perturbation",
        patched(schedule(), "at", late),
        ("perturb",),
        NOISE,
    ),
    Mutant("the null run has the real Teacher", "null run", real_null(), ("null run",)),
]
