"""Damages of the Teacher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from custodes.oversight import build
from custodes.oversight.teachers.simulated import SimulatedTeacher
from mutants.mutant import Mutant, Plant, patched

TEACHER = ("gold score follows", "training beats a sham", "weights moved", "something to learn",
           "gold score holds", "answers change")  # fmt: skip


def swapped(original: Any) -> Any:
    def gather(self: Any, *args: Any) -> Any:
        data = original(self, *args)
        return replace(data, by_domain={
            name: replace(own, pairs=[replace(p, chosen=p.rejected, rejected=p.chosen)
                                      for p in own.pairs])
            for name, own in data.by_domain.items()
        })  # fmt: skip

    return gather


def half_swapped(original: Any) -> Any:
    def gather(self: Any, *args: Any) -> Any:
        data = original(self, *args)
        return replace(data, by_domain={
            name: replace(own, pairs=[replace(p, chosen=p.rejected, rejected=p.chosen)
                                      if i % 2 else p for i, p in enumerate(own.pairs)])
            for name, own in data.by_domain.items()
        })  # fmt: skip

    return gather


def state_after(change: Callable[[Any, Any, str], Any]) -> Plant:
    """Replace the dynamics of training: (before, after, domain) → after."""
    from custodes.oversight.teachers import simulated

    def make(original: Any) -> Any:
        def next_state(before: Any, domain: str, *args: Any) -> Any:
            return change(before, original(before, domain, *args), domain)

        return next_state

    return patched(simulated, "next_state", make)


def other(domain: str) -> str:
    return "helpfulness" if domain == "harmlessness" else "harmlessness"


def wrong_domain(original: Any) -> Any:
    def next_state(before: Any, domain: str, *args: Any) -> Any:
        return original(before, other(domain), *args)

    return next_state


def costly(before: Any, after: Any, domain: str) -> Any:
    if domain == "harmlessness":
        return replace(after, helpful=max(0.02, after.helpful * 0.3))
    return replace(after, harmful=min(0.98, after.harmful + 0.4))


def claiming(original: Any) -> Any:
    def train(self: Any, worker: Any, *args: Any) -> Any:
        made = original(self, worker, *args)
        return replace(made, adapter=worker.checkpoint.adapter)

    return train


def no_pairs(original: Any) -> Any:
    def gather(self: Any, *args: Any) -> Any:
        data = original(self, *args)
        return replace(data, by_domain={n: replace(d, pairs=[]) for n, d in data.by_domain.items()})

    return gather


def leaking(original: Any) -> Any:
    def teacher(config: Any, queries: Any, experts: Any, progress: Any, own: Any) -> Any:
        del queries
        gold = build._prompts(config.gold.sources, experts, "gold")
        return original(config, gold, experts, progress, own)

    return teacher


def simulated_module() -> Any:
    from custodes.oversight.teachers import simulated

    return simulated


MUTANTS = [
    Mutant(
        "chosen and rejected are swapped",
        "Teacher",
        patched(SimulatedTeacher, "gather", swapped),
        TEACHER,
    ),
    Mutant(
        "half of the pairs are swapped",
        "Teacher",
        patched(SimulatedTeacher, "gather", half_swapped),
        TEACHER,
    ),
    Mutant(
        "the sign of the update is flipped",
        "Teacher",
        state_after(
            lambda b, a, _d: replace(
                a,
                helpful=min(0.98, max(0.02, 2 * b.helpful - a.helpful)),
                harmful=min(0.98, max(0.02, 2 * b.harmful - a.harmful)),
            )
        ),
        TEACHER,
    ),
    Mutant(
        "the wrong domain is trained",
        "Teacher",
        patched(simulated_module(), "next_state", wrong_domain),
        TEACHER,
    ),
    Mutant(
        "training collapses the Worker",
        "Teacher",
        state_after(lambda _b, a, _d: replace(a, helpful=0.03, harmful=0.5)),
        TEACHER,
    ),
    Mutant(
        "training costs the other domain more than it brings",
        "Teacher",
        state_after(costly),
        TEACHER,
    ),
    Mutant(
        "no weight moves, and the metrics say so",
        "Teacher",
        state_after(lambda b, _a, _d: b),
        TEACHER,
    ),
    Mutant(
        "the new adapter is not used",
        "Teacher",
        patched(SimulatedTeacher, "train", claiming),
        (*TEACHER, "checkpoints follow"),
    ),
    Mutant(
        "training moves a thousandth of what it should",
        "Teacher",
        state_after(
            lambda b, a, _d: replace(
                a,
                helpful=b.helpful + (a.helpful - b.helpful) / 1000,
                harmful=b.harmful + (a.harmful - b.harmful) / 1000,
            )
        ),
        TEACHER,
    ),
    Mutant("there are no pairs", "Teacher", patched(SimulatedTeacher, "gather", no_pairs), TEACHER),
    Mutant(
        "the Teacher trains on gold prompts",
        "Teacher",
        patched(build, "_teacher", leaking),
        ("gold unseen in training",),
    ),
]
