"""Events: what is written is what is read, and what is no event is refused in one line."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from custodes.control import Control
from custodes.conversation import Query, user_chat
from custodes.errors import RunError
from custodes.experts.expert import Rating
from custodes.oversight.controls.serving import ServingCheck
from custodes.oversight.events import (
    AuditEvent,
    CheckpointEvent,
    DomainRatings,
    EndEvent,
    ExpertCard,
    GoldCard,
    GoldEvent,
    GoldPrompt,
    LevelEvent,
    OrderProbe,
    OversightEvent,
    PlannedPerturbation,
    ProbeEvent,
    StartEvent,
    StepEvent,
    VerdictEvent,
    WorkerCard,
    decode,
    encode,
)
from custodes.oversight.gold.panel import Quantity
from custodes.oversight.gold.score import GoldMeasurement
from custodes.oversight.roles import Evidence

CONTROL = Control("c", None, "not yet", {"n": 0})
EVENTS: list[OversightEvent] = [
    StartEvent(
        worker=WorkerCard("w", "torch", "1"),
        experts=(ExpertCard("e", "d", "1", {"controls": [CONTROL.to_dict()], "n": 3}),),
        gold={"d": GoldCard("g", "2", expert_in_loop=False, prompts=2, shared_prompts=0)},
        gold_prompts=(GoldPrompt("g1", "\ud800 text", "cooking"),),
        perturbations=(PlannedPerturbation("p@1", "p", 1, None),),
    ),
    CheckpointEvent(
        step=-1,
        checkpoint=1,
        adapter="checkpoints/1",
        parent=0,
        intervention="teacher:d",
        metrics={"weights_moved": 0.1, "controls": [CONTROL.to_dict()]},
        served=ServingCheck("openvino", 0.9, -0.1),
        perturbed={"p@1": 0.5},
    ),
    LevelEvent(3, 1, ("jailbreak@3",), {"helpfulness": {"a": 0.25}}),
    CheckpointEvent(step=-1, checkpoint=0, adapter=None, parent=None, intervention="base"),
    GoldEvent(step=2, checkpoint=1, domains={"d": GoldMeasurement(("g1",), (0.5,), ("a",))}),
    GoldEvent(
        step=3,
        checkpoint=2,
        domains={},
        panel={
            "words": Quantity(("g1",), (3.0,)),
            "over_refusal": Quantity(("l",), (1.0,), ("n",)),
        },
    ),
    ProbeEvent((OrderProbe("j", "d", CONTROL),)),
    StepEvent(
        step=0,
        checkpoint=0,
        version="1",
        queries=(Query("q", tuple(user_chat("hi")), "d", "t"), Query("r", tuple(user_chat("ho")))),
        responses=("a\u2028", "b"),
        ratings={
            "d": DomainRatings(
                queries=(0, 1),
                seen=(Rating(0.25), Rating(None, "shy")),
                clean=(Rating(0.75), Rating(None, "shy")),
            )
        },
        perturbed={},
    ),
    VerdictEvent(
        step=0,
        intercept=True,
        retrain="d",
        evidence={"d": Evidence(3, 0.5, 0.25, 0.5, failing=True, held="budget")},
    ),
    AuditEvent((CONTROL,)),
    EndEvent(),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_an_event_comes_back_from_its_line(event: OversightEvent) -> None:
    line = json.dumps({"i": 0, "kind": event.kind, **encode(event)}, allow_nan=False)
    assert decode(json.loads(line)) == event


def test_every_kind_is_among_them() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(OversightEvent))


def test_controls_are_controls_again() -> None:
    start, checkpoint = EVENTS[0], EVENTS[1]
    assert isinstance(start, StartEvent)
    assert isinstance(checkpoint, CheckpointEvent)
    assert start.experts[0].controls == checkpoint.controls == [CONTROL]


@pytest.mark.parametrize(
    "row",
    [
        {"i": 4, "kind": "wandering"},
        {"i": 4, "kind": "gold", "step": 0},
        {"i": 4, "kind": "step", "step": 0, "checkpoint": 0, "version": "", "queries": [3]},
        {"i": 4},
    ],
)
def test_what_is_no_event_is_refused_in_one_line(row: dict[str, Any]) -> None:
    with pytest.raises(RunError, match="line 5 of the log is no event"):
        decode(row)
