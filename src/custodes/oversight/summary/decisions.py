"""Retrains that undisturbed ratings would not have ordered, and those that they would have."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from custodes.oversight.events import StepEvent
from custodes.oversight.log import History
from custodes.oversight.roles import Overseer

__all__ = ["Decision", "wrong_decisions"]


@dataclass(frozen=True)
class Decision:
    """A retrain that was ordered, or should have been.

    Attributes:
        step: The step of the verdict.
        domain: The domain of the retrain.
    """

    step: int
    domain: str


def wrong_decisions(
    history: History, make_overseer: Callable[[], Overseer]
) -> tuple[list[Decision], list[Decision]]:
    """Compare each verdict with the one that the ratings before any perturbation lead to.

    The run's ratings are shown to an Overseer like its own, with the checkpoints of the log. At
    each intercept the ratings since the one before are replaced by the clean ones, and by nothing
    else, so that one wrong decision does not make the next ones wrong: budget and cool-down are
    those of the run. A retrain that is missed at several intercepts is listed for each.

    Args:
        history: The run's events.
        make_overseer: Makes an Overseer like the run's.

    Returns:
        Needless retrains, and missed ones.
    """
    needless: list[Decision] = []
    missed: list[Decision] = []
    if not any(map(_disturbed, history.steps)):
        return needless, missed
    overseer = make_overseer()
    window: list[StepEvent] = []
    before = copy.deepcopy(overseer)
    for event in history.steps:
        verdict = history.verdicts.get(event.step)
        if verdict is None:
            break
        window.append(event)
        _review(overseer, event, clean=False)
        if not verdict.intercept:
            continue
        if any(map(_disturbed, window)):
            due = _clean_decision(before, window)
            if verdict.retrain is not None and verdict.retrain != due:
                needless.append(Decision(event.step, verdict.retrain))
            if due is not None and verdict.retrain != due:
                missed.append(Decision(event.step, due))
        window, before = [], copy.deepcopy(overseer)
    return needless, missed


def _disturbed(event: StepEvent) -> bool:
    return any(ratings.seen != ratings.clean for ratings in event.ratings.values())


def _clean_decision(overseer: Overseer, window: Sequence[StepEvent]) -> str | None:
    """Show the clean ratings of a window; return the domain to be retrained, if any."""
    decided = None
    for event in window:
        decided = _review(overseer, event, clean=True)
    return decided


def _review(overseer: Overseer, event: StepEvent, *, clean: bool) -> str | None:
    ratings = {
        domain: given.clean if clean else given.seen for domain, given in event.ratings.items()
    }
    return overseer.review(event.step, ratings, event.checkpoint).retrain
