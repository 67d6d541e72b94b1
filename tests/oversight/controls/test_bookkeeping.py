"""A log that contradicts itself or the config is red, by the control that names the damage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from custodes.experts.expert import Rating
from custodes.oversight.controls.bookkeeping import OverseerPlan, bookkeeping_controls
from custodes.oversight.events import DomainRatings, StepEvent, VerdictEvent
from custodes.oversight.log import History


def red(history: History, plan: OverseerPlan) -> list[str]:
    return [c.name for c in bookkeeping_controls(history, plan) if c.passed is False]


def step(history: History, number: int, change: Callable[[StepEvent], StepEvent]) -> History:
    steps = tuple(change(e) if e.step == number else e for e in history.steps)
    return replace(history, steps=steps)


def ratings(event: StepEvent, change: Callable[[DomainRatings], DomainRatings]) -> StepEvent:
    return replace(event, ratings={d: change(r) for d, r in event.ratings.items()})


def verdict(history: History, number: int, **fields: object) -> History:
    changed = {**history.verdicts, number: replace(history.verdicts[number], **fields)}  # type: ignore[arg-type]
    return replace(history, verdicts=changed)


def turned(row: DomainRatings) -> DomainRatings:
    seen = tuple(Rating(1 - (r.value or 0)) for r in row.seen)
    return replace(row, seen=seen)


def moved_evidence(event: VerdictEvent, **fields: object) -> dict[str, object]:
    return {d: replace(e, **fields) for d, e in event.evidence.items()}  # type: ignore[arg-type]


def test_a_sound_run_passes(sound: History, plan: OverseerPlan) -> None:
    assert red(sound, plan) == []


OTHER = {
    "teacher:helpfulness": "teacher:harmlessness",
    "teacher:harmlessness": "teacher:helpfulness",
}
DAMAGES: dict[str, tuple[str, Callable[[History], History]]] = {
    "a step is lost": (
        "steps follow one another",
        lambda h: replace(h, steps=h.steps[:2] + h.steps[3:]),
    ),
    "a response is lost": (
        "steps follow one another",
        lambda h: step(h, 1, lambda e: replace(e, responses=e.responses[1:])),
    ),
    "ratings are of other queries": (
        "ratings belong to their queries",
        lambda h: step(
            h,
            1,
            lambda e: ratings(e, lambda r: replace(r, queries=r.queries[1:] + r.queries[:1])),
        ),
    ),
    "the Overseer sees 1 - v": (
        "ratings belong to their queries",
        lambda h: step(h, 0, lambda e: ratings(e, turned)),
    ),
    "a rating is above 1": (
        "ratings belong to their queries",
        lambda h: step(
            h,
            4,
            lambda e: ratings(e, lambda r: replace(r, clean=(Rating(1.2), *r.clean[1:]))),
        ),
    ),
    "a domain is not rated": (
        "ratings belong to their queries",
        lambda h: step(
            h, 0, lambda e: replace(e, ratings={"helpfulness": e.ratings["helpfulness"]})
        ),
    ),
    "the old checkpoint answers": (
        "checkpoints follow verdicts",
        lambda h: step(h, 7, lambda e: replace(e, checkpoint=0)),
    ),
    "the old version answers": (
        "checkpoints follow verdicts",
        lambda h: replace(h, steps=tuple(replace(e, version="v") for e in h.steps)),
    ),
    "another domain is trained": (
        "checkpoints follow verdicts",
        lambda h: replace(
            h,
            checkpoints=tuple(
                replace(c, intervention=OTHER[c.intervention])
                if c.parent is not None
                else c
                for c in h.checkpoints
            ),
        ),
    ),
    "a perturbation is late": (
        "perturbations act when planned",
        lambda h: step(h, 4, lambda e: replace(e, perturbed={})),
    ),
    "the evidence is another": (
        "verdicts rest on the ratings",
        lambda h: verdict(h, 1, evidence=moved_evidence(h.verdicts[1], mean=0.99)),
    ),
    "the threshold is another": (
        "verdicts rest on the ratings",
        lambda h: verdict(h, 1, evidence=moved_evidence(h.verdicts[1], threshold=0.1)),
    ),
    "failing is passing": (
        "verdicts rest on the ratings",
        lambda h: verdict(
            h,
            1,
            evidence={
                d: replace(e, failing=not e.failing) for d, e in h.verdicts[1].evidence.items()
            },
        ),
    ),
    "an intercept is late": (
        "intercepts are where the config has them",
        lambda h: verdict(h, 2, intercept=True),
    ),
    "the User repeats itself": (
        "User asks different queries",
        lambda h: replace(
            h,
            steps=tuple(
                replace(
                    e,
                    queries=tuple(replace(q, chat=h.steps[0].queries[0].chat) for q in e.queries),
                )
                for e in h.steps
            ),
        ),
    ),
    "a perturbation only says that it acts": (
        "perturbed ratings differ",
        lambda h: replace(
            h, steps=tuple(ratings(e, lambda r: replace(r, seen=r.clean)) for e in h.steps)
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damage_is_named(damage: str, sound: History, plan: OverseerPlan) -> None:
    name, plant = DAMAGES[damage]
    assert name in red(plant(sound), plan)


def test_the_budget_is_held_to(sound: History, plan: OverseerPlan) -> None:
    assert red(sound, replace(plan, max_retrains=0)) == ["retrains within the budget"]
    assert red(sound, replace(plan, max_retrains=None, overseer_steps=None)) == []
