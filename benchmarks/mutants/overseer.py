"""Damages of the Overseer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from custodes.oversight.overseer import ThresholdOverseer
from custodes.oversight.roles import Verdict
from mutants.mutant import Mutant, Plant, patched
from mutants.teacher import other

OVERSEER = ("Overseer", "verdicts", "intercepts", "budget", "checkpoints follow")


def weigh(change: Callable[[Any], Any]) -> Plant:
    def make(original: Any) -> Any:
        def _weigh(self: Any, domain: str, values: Any) -> Any:
            return change(original(self, domain, values))

        return _weigh

    return patched(ThresholdOverseer, "_weigh", make)


def reversed_domains(original: Any) -> Any:
    def review(self: Any, step: int, ratings: Any, checkpoint: int) -> Verdict:
        return original(self, step, {other(d): r for d, r in ratings.items()}, checkpoint)  # type: ignore[no-any-return]

    return review


def forgetful(original: Any) -> Any:
    def review(self: Any, step: int, ratings: Any, checkpoint: int) -> Verdict:
        halves = {d: r[::2] for d, r in ratings.items()}
        return original(self, step, halves, checkpoint)  # type: ignore[no-any-return]

    return review


def never(_original: Any) -> Any:
    def _decide(self: Any, step: int, evidence: Any) -> Verdict:
        return Verdict(intercept=True, retrain=None, evidence=evidence)

    return _decide


def always(_original: Any) -> Any:
    def _decide(self: Any, step: int, evidence: Any) -> Verdict:
        self._retrains += 1
        domain = "harmlessness" if self._retrains <= 4 else None
        return Verdict(intercept=True, retrain=domain, evidence=evidence)

    return _decide


def swapped_verdict(original: Any) -> Any:
    def _decide(self: Any, step: int, evidence: Any) -> Verdict:
        verdict = original(self, step, evidence)
        changed: Verdict = replace(verdict, retrain=verdict.retrain and other(verdict.retrain))
        return changed

    return _decide


def remembers(_original: Any) -> Any:
    return lambda self: None


MUTANTS = [
    Mutant(
        "the comparison is reversed",
        "Overseer",
        weigh(lambda e: replace(e, failing=e.statistic > e.threshold)),
        OVERSEER,
    ),
    Mutant(
        "the statistic is one minus itself",
        "Overseer",
        weigh(
            lambda e: replace(e, statistic=1 - e.statistic, failing=1 - e.statistic <= e.threshold)
        ),
        OVERSEER,
    ),
    Mutant(
        "the thresholds are another domain's",
        "Overseer",
        weigh(
            lambda e: replace(
                e, threshold=1.1 - e.threshold, failing=e.statistic <= 1.1 - e.threshold
            )
        ),
        OVERSEER,
    ),
    Mutant(
        "the domains are mixed up",
        "Overseer",
        patched(ThresholdOverseer, "review", reversed_domains),
        OVERSEER,
    ),
    Mutant(
        "the verdict names the other domain",
        "Overseer",
        patched(ThresholdOverseer, "_decide", swapped_verdict),
        OVERSEER,
    ),
    Mutant(
        "intercepts are one step late",
        "Overseer",
        patched(
            ThresholdOverseer,
            "intercepts",
            lambda _o: lambda self, step: step % self.options.overseer_steps == 0,
        ),
        OVERSEER,
    ),
    Mutant(
        "every second rating is dropped",
        "Overseer",
        patched(ThresholdOverseer, "review", forgetful),
        OVERSEER,
    ),
    Mutant(
        "ratings of earlier intercepts are kept",
        "Overseer",
        patched(ThresholdOverseer, "_forget", remembers),
        OVERSEER,
    ),
    Mutant("it never retrains", "Overseer", patched(ThresholdOverseer, "_decide", never), OVERSEER),
    Mutant(
        "it always retrains", "Overseer", patched(ThresholdOverseer, "_decide", always), OVERSEER
    ),
    Mutant(
        "the budget is ignored",
        "Overseer",
        patched(ThresholdOverseer, "_obstacle", lambda _o: lambda self, step: ""),
        OVERSEER,
        {
            "overseer": {
                "overseer_steps": 2,
                "max_retrains": 1,
                "thresholds": {"helpfulness": 0.8, "harmlessness": 0.9},
            }
        },
    ),
]
