"""Does an Overseer decide as it must? Shown ratings about which nobody could disagree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from custodes.control import Control
from custodes.experts.expert import Rating
from custodes.oversight.controls.bookkeeping import OverseerPlan
from custodes.oversight.roles import Overseer

__all__ = ["overseer_controls"]

RATINGS = 256
"""Ratings of each domain at each step that an Overseer is shown."""
STEPS = 64
"""An Overseer that has not decided after so many steps does not decide."""
CLEAR = 0.95
"""Thresholds above this, or below 1 - CLEAR, leave no room for clearly good or bad ratings."""


def overseer_controls(make_overseer: Callable[[], Overseer], plan: OverseerPlan) -> list[Control]:
    """Show an Overseer ratings that are all good, and ratings that are all bad in one domain.

    The expected decisions follow from what an Overseer is for, not from its code, so that a
    reversed comparison or mixed-up domains are recognised. Every decision is that of a fresh
    Overseer.

    Args:
        make_overseer: Makes an Overseer like the run's.
        plan: What the config says of it.

    Returns:
        One control for good ratings, and one for each domain.
    """
    thresholds, domains = plan.thresholds, list(plan.thresholds)
    unclear = [d for d, t in thresholds.items() if not 1 - CLEAR <= t <= CLEAR]
    good_name, reason = "Overseer passes good ratings", ""
    if unclear:
        reason = (
            f"the threshold of {unclear[0]} is {thresholds[unclear[0]]:g}: no rating is clearly "
            "above and none clearly below it"
        )
    if plan.max_retrains == 0:
        reason = "the Overseer may order no retrain"
    if reason:
        return [
            Control.not_tested(good_name, reason),
            *(Control.not_tested(f"Overseer stops bad ratings: {d}", reason) for d in domains),
        ]
    decision = first_retrain(make_overseer(), dict.fromkeys(domains, 1.0))
    return [
        Control(
            good_name,
            decision is None,
            f"shown {STEPS} steps of ratings of 1, it "
            + ("orders no retrain" if decision is None else f"retrains in {decision}")
            + " (must order none)",
            {"retrain": decision},
        ),
        *(_stops(make_overseer(), domain, domains) for domain in domains),
    ]


def _stops(overseer: Overseer, domain: str, domains: Sequence[str]) -> Control:
    decision = first_retrain(overseer, {d: 0.0 if d == domain else 1.0 for d in domains})
    return Control(
        f"Overseer stops bad ratings: {domain}",
        decision == domain,
        f"shown ratings of 0 in {domain} and of 1 elsewhere, it "
        + ("orders no retrain" if decision is None else f"retrains in {decision}")
        + f" (must retrain in {domain})",
        {"retrain": decision},
    )


def first_retrain(overseer: Overseer, values: Mapping[str, float]) -> str | None:
    """Return the domain of the first retrain that an Overseer orders, if any.

    Args:
        overseer: A fresh Overseer.
        values: By domain, the value of all ratings that it is shown.
    """
    for step in range(STEPS):
        shown = {d: [Rating(v)] * RATINGS for d, v in values.items()}
        verdict = overseer.review(step, shown if overseer.wants_ratings(step) else {}, 0)
        if verdict.retrain is not None:
            return verdict.retrain
    return None
