"""What a perturbation did: the disturbed thing, and how much of it changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["Disturbed", "Effect", "Effects", "shares"]

T = TypeVar("T")


@dataclass(frozen=True)
class Effect:
    """How much of what a perturbation was shown it changed.

    Attributes:
        changed: Items that it changed; for a change of the User, a distance in [0, 1].
        shown: Items that it was shown.
    """

    changed: float
    shown: int

    def __add__(self, other: Effect) -> Effect:
        """Join the effects of two calls."""
        return Effect(self.changed + other.changed, self.shown + other.shown)


Effects = Mapping[str, Effect]
"""By the perturbation's name."""


@dataclass(frozen=True)
class Disturbed(Generic[T]):
    """Something that the loop goes on with, and what each perturbation changed of it."""

    value: T
    effects: Effects = field(default_factory=dict)


def shares(active: Iterable[str], effects: Iterable[Effects]) -> dict[str, float]:
    """Return for each active perturbation the share of what it was shown that it changed.

    The share is 0 for one that was shown nothing (no query of its domain, no retrain), so that the
    control "perturbation took effect" fails for it too.

    Args:
        active: Names of the active perturbations.
        effects: What each call returned.
    """
    totals = dict.fromkeys(active, Effect(0.0, 0))
    for call in effects:
        for name, effect in call.items():
            totals[name] += effect
    return {name: total.changed / max(total.shown, 1) for name, total in totals.items()}
