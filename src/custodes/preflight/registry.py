"""The list of checks: one small function each, registered under its id."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from custodes.errors import ConfigError, near_misses
from custodes.preflight.result import Layer, Verdict

if TYPE_CHECKING:
    from custodes.preflight.case import Case

__all__ = ["Check", "check", "checks", "failed", "not_tested", "passed", "verdict"]

Measure = Callable[["Case"], Verdict]


@dataclass(frozen=True)
class Check:
    """One check that a trainer can fail.

    Attributes:
        id: Its name.
        layer: "data", "batch", "step" or "reward".
        expected: What passes.
        remedy: What to change.
        reference: Where the bug cost somebody a run.
        measure: Computes the verdict; may raise `NotTestable`.
        kinds: Kinds of trainer that it applies to; empty: all.
        on_request: Whether it runs only when asked for by id.
        dear: Whether it is left out once the budget is used up.
    """

    id: str
    layer: Layer
    expected: str
    remedy: str
    reference: str
    measure: Measure
    kinds: frozenset[str] = frozenset()
    on_request: bool = False
    dear: bool = False


_CHECKS: dict[str, Check] = {}


def check(
    id: str,
    layer: Layer,
    *,
    expected: str,
    remedy: str,
    reference: str,
    kinds: Collection[str] = (),
    on_request: bool = False,
    dear: bool = False,
) -> Callable[[Measure], Measure]:
    """Register a function as a check; see `Check` for the arguments."""

    def register(measure: Measure) -> Measure:
        if id in _CHECKS and _CHECKS[id].measure.__module__ != measure.__module__:
            raise ValueError(f"two checks are called {id}")
        _CHECKS[id] = Check(
            id, layer, expected, remedy, reference, measure, frozenset(kinds), on_request, dear
        )
        return measure

    return register


def checks(only: Collection[str] = (), skip: Collection[str] = ()) -> list[Check]:
    """Return the checks to run, in order: data, batch, step, reward.

    Args:
        only: Ids or layers; empty: all that are not on request.
        skip: Ids or layers to leave out.

    Raises:
        ConfigError: An id that no check has.
    """
    from custodes.preflight.checks import load
    from custodes.preflight.result import LAYERS

    load()
    for name in (*only, *skip):
        if name not in _CHECKS and name not in LAYERS:
            raise ConfigError(
                f"no check or layer is called {name!r}", near_misses(name, [*_CHECKS, *LAYERS])
            )
    ordered = sorted(_CHECKS.values(), key=lambda one: LAYERS.index(one.layer))
    return [
        one
        for one in ordered
        if (one.id in only or one.layer in only if only else not one.on_request)
        and one.id not in skip
        and one.layer not in skip
    ]


def verdict(held: bool, explanation: str, /, **measured: Any) -> Verdict:
    """Return a verdict: whether it held, one sentence, and the figures."""
    return Verdict(bool(held), explanation, measured)


def passed(explanation: str, /, **measured: Any) -> Verdict:
    """Return a verdict that passed."""
    return Verdict(True, explanation, measured)


def failed(explanation: str, /, **measured: Any) -> Verdict:
    """Return a verdict that failed."""
    return Verdict(False, explanation, measured)


def not_tested(explanation: str, /, **measured: Any) -> Verdict:
    """Return a verdict on what could not be computed: the reason."""
    return Verdict(None, explanation, measured)
