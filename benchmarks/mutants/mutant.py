"""What a damage is, and how it is planted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

Plant = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Mutant:
    """A damage.

    Attributes:
        name: What is done.
        part: The part that is damaged.
        plant: Makes the context in which it is.
        names: Parts of the names of controls that name the damaged part.
        config: Keys of the config that it needs.
    """

    name: str
    part: str
    plant: Plant
    names: tuple[str, ...]
    config: dict[str, Any] = field(default_factory=dict)

    def planted(self) -> AbstractContextManager[Any]:
        return self.plant()

    def named_by(self, red: Sequence[str], error: str) -> list[str]:
        """Return the failed controls that name the part; an error that stops the run names it."""
        return [n for n in red if any(part in n for part in self.names)] or (
            [error] if error else []
        )


def patched(target: Any, name: str, make: Callable[[Any], Any]) -> Plant:
    """Replace a function by what ``make`` makes of it."""

    @contextmanager
    def plant() -> Any:
        with patch.object(target, name, make(getattr(target, name))):
            yield

    return plant


def both(*plants: Plant) -> Plant:
    @contextmanager
    def plant() -> Any:
        with ExitStack() as stack:
            for one in plants:
                stack.enter_context(one())
            yield

    return plant
