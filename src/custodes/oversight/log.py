"""A run's log in typed events: writing it, resuming from it, and reading it as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from custodes.control import Control
from custodes.oversight.events import (
    AuditEvent,
    CheckpointEvent,
    EndEvent,
    GoldEvent,
    LevelEvent,
    OversightEvent,
    ProbeEvent,
    StartEvent,
    StepEvent,
    VerdictEvent,
    decode,
    encode,
)
from custodes.runs.events import Event, EventLog

__all__ = ["History", "OversightLog"]

E = TypeVar("E", bound=OversightEvent)


class OversightLog:
    """A run's log in typed events: what is there is read, what is not is made and written."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def once(self, kind: type[E], make: Callable[[], E], **key: Any) -> E:
        """Return the next event if the log has it, else make it and write it.

        Args:
            kind: Class of the event that is due.
            make: Makes it; not called when the log has it.
            **key: Fields by which the event that is due is recognised, e.g. ``step=3``.

        Raises:
            RunError: The log has another event here, or cannot be written.
        """

        def other_fields() -> dict[str, Any]:
            row = encode(make())
            return {name: value for name, value in row.items() if name not in key}

        event = decode(self._log.once(kind.kind, other_fields, **key))
        assert isinstance(event, kind)
        return event

    def replay(self, kind: type[E], **key: Any) -> E | None:
        """Return the next event if the log has it, else None.

        Raises:
            RunError: The log has another event here.
        """
        return self.once(kind, _never, **key) if self._log.replaying else None

    def append(self, event: E, **key: Any) -> E:
        """Write the event that `replay` did not find, and return it."""
        return self.once(type(event), lambda: event, **key)


def _never() -> Any:
    raise AssertionError("an event that is being replayed is not made")


@dataclass(frozen=True)
class History:
    """All events of a run so far, by kind.

    Attributes:
        start: None where the log ends before it.
        checkpoints, golds, probes, steps, levels: In their order.
        verdicts: By step.
        audit: The controls of the audit after the last step.
        finished: Whether the run came to its end.
    """

    start: StartEvent | None
    checkpoints: tuple[CheckpointEvent, ...]
    golds: tuple[GoldEvent, ...]
    probes: tuple[ProbeEvent, ...]
    steps: tuple[StepEvent, ...]
    verdicts: Mapping[int, VerdictEvent]
    audit: tuple[Control, ...]
    finished: bool
    levels: tuple[LevelEvent, ...] = ()

    @staticmethod
    def of(rows: Iterable[Event]) -> History:
        """Read the lines of a log.

        Raises:
            RunError: A line is no event of an overseen run.
        """
        events: Sequence[OversightEvent] = [decode(row) for row in rows]

        def of_kind(kind: type[E]) -> tuple[E, ...]:
            return tuple(event for event in events if isinstance(event, kind))

        return History(
            start=next(iter(of_kind(StartEvent)), None),
            checkpoints=of_kind(CheckpointEvent),
            golds=of_kind(GoldEvent),
            probes=of_kind(ProbeEvent),
            steps=of_kind(StepEvent),
            verdicts={event.step: event for event in of_kind(VerdictEvent)},
            audit=tuple(c for event in of_kind(AuditEvent) for c in event.controls),
            finished=bool(of_kind(EndEvent)),
            levels=of_kind(LevelEvent),
        )

    @property
    def retrains(self) -> tuple[CheckpointEvent, ...]:
        """The checkpoints after the first."""
        return tuple(event for event in self.checkpoints if event.parent is not None)
