"""The list of planted bugs: what each is, and which checks have to see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["Plant", "plant", "plants"]


@dataclass(frozen=True)
class Plant:
    """One bug.

    Attributes:
        id: Its name.
        kind: Of trainer.
        about: One sentence.
        checks: Ids of which at least one has to fail; the first one names the bug best.
        reference: Where it cost somebody a run.
        build: Returns a trainer with the bug, in a folder of its own.
    """

    id: str
    kind: str
    about: str
    checks: tuple[str, ...]
    reference: str
    build: Callable[[Path], Any]


_PLANTS: dict[str, Plant] = {}


def plant(
    id: str, kind: str, checks: Sequence[str], reference: str
) -> Callable[[Callable[[Path], Any]], Callable[[Path], Any]]:
    """Register a function that builds a trainer with a bug; see `Plant`."""

    def register(build: Callable[[Path], Any]) -> Callable[[Path], Any]:
        about = (build.__doc__ or "").strip().splitlines()[0]
        _PLANTS[id] = Plant(id, kind, about, tuple(checks), reference, build)
        return build

    return register


def plants() -> list[Plant]:
    """Return all planted bugs."""
    for name in ("offline", "online"):
        import_module(f"custodes.preflight.plants.{name}")
    return list(_PLANTS.values())
