"""The event log: append-only, one JSON line an event, on disk before the next step begins."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from custodes.errors import RunError
from custodes.runs.files import dumps, explain_disk

__all__ = ["Event", "EventLog", "read_events"]

Event = dict[str, Any]


def read_events(path: Path) -> tuple[list[Event], int]:
    """Read a log.

    A last line without its newline, or that is not JSON, is what a crash leaves: it is torn and
    not an event. The same anywhere else is damage, and is not papered over.

    Returns:
        The events, and how many bytes at the file's start hold them (the rest is torn).

    Raises:
        RunError: A line before the last is damaged.
    """
    data = path.read_bytes() if path.exists() else b""
    events: list[Event] = []
    good = 0
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            event = json.loads(line)
            if event["i"] != len(events):
                raise ValueError(f"event {event['i']} where {len(events)} was due")
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines) - 1 and not lines[-1]:
                break
            raise RunError(
                f"{path.name} line {number} is damaged ({error})",
                "restore the file from a copy, or start a new run with another --out",
            ) from error
        events.append(event)
        good += len(line) + 1
    return events, good


class EventLog:
    """An event log open for appending.

    Attributes:
        events: Everything in the log, in order. Each has ``i`` (its index) and ``kind``.
        torn: Bytes of a torn last line that were dropped on opening.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events, good = read_events(path)
        self._replayed = 0
        size = path.stat().st_size if path.exists() else 0
        self.torn = size - good
        with explain_disk(path):
            self._handle = path.open("ab")
            if self.torn:
                self._handle.truncate(good)
                os.fsync(self._handle.fileno())

    @property
    def replaying(self) -> bool:
        """Whether ``once`` still answers from what an earlier process wrote."""
        return self._replayed < len(self.events)

    def once(self, kind: str, make: Callable[[], Mapping[str, Any]], **key: Any) -> Event:
        """Return the next event if the log has it already, else make it and write it.

        A run that only ever goes forward through ``once`` resumes by itself: started again, it
        walks through what is there without making any of it, and goes on where the log ends.

        Args:
            kind: The event's kind.
            make: Computes the event's other fields; not called when the log has the event.
            **key: Fields that tell which event is due, e.g. ``step=3``.

        Raises:
            RunError: The log has another event here: it is of another run.
        """
        if not self.replaying:
            event = self.append(kind, **key, **make())
        else:
            event = self.events[self._replayed]
            if event["kind"] != kind or any(event.get(name) != key[name] for name in key):
                raise RunError(
                    f"{self.path.name} line {self._replayed + 1} is a {event['kind']!r} event "
                    f"where {kind!r} {key or ''} was due",
                    "the folder was written by other code; start a new run with another --out",
                )
        self._replayed += 1
        return event

    def adopt(self, events: Sequence[Event]) -> None:
        """Begin a new log with events of another, which ``once`` then returns like its own."""
        for event in events:
            self.append(**{key: value for key, value in event.items() if key != "i"})

    def append(self, kind: str, **fields: Any) -> Event:
        """Write one event and wait until it is on disk.

        Raises:
            RunError: The disk is full.
        """
        event: Event = {"i": len(self.events), "kind": kind, **fields}
        line = dumps(event).encode() + b"\n"
        with explain_disk(self.path):
            self._handle.write(line)
            self._handle.flush()
            os.fsync(self._handle.fileno())
        self.events.append(json.loads(line))
        return self.events[-1]

    def of(self, kind: str) -> Iterator[Event]:
        """Iterate over the events of one kind."""
        return (event for event in self.events if event["kind"] == kind)

    def last(self, kind: str) -> Event | None:
        """Return the newest event of one kind."""
        return next((event for event in reversed(self.events) if event["kind"] == kind), None)

    def close(self) -> None:
        """Close the file."""
        self._handle.close()
