"""The event log of a run: every event is on disk before the next step begins."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from custodes.errors import RunError
from custodes.runs.log import Log, Row, damaged, read_log

__all__ = ["Event", "EventLog", "read_events"]

Event = Row
"""A row with ``i``, its index in the log, and ``kind``."""


def read_events(path: Path) -> list[Event]:
    """Read an event log without changing it; see `custodes.runs.log.read_log`.

    Raises:
        RunError: A line is damaged, or an event is missing.
    """
    events = read_log(path)
    _check(path, events)
    return events


class EventLog:
    """An event log open for appending.

    Attributes:
        path: The file; created if it does not exist.
        events: All events, in order.
        torn: Size in bytes of a torn last line that was removed on opening; 0 if there was none.
    """

    def __init__(self, path: Path) -> None:
        """Open an event log and remove a torn last line.

        Raises:
            RunError: A line is damaged, an event is missing, or the file cannot be written.
        """
        self.path = path
        self._log = Log(path)
        self.events, self.torn = self._log.rows, self._log.torn
        self._replayed = 0
        try:
            _check(path, self.events)
        except RunError:
            self.close()
            raise

    @property
    def replaying(self) -> bool:
        """Whether ``once`` still returns events that an earlier process wrote."""
        return self._replayed < len(self.events)

    def once(self, kind: str, make: Callable[[], Mapping[str, Any]], **key: Any) -> Event:
        """Return the next event if the log already has it; otherwise make and write it.

        A run that writes all its events through ``once`` resumes by itself: started again, it
        reads the events of the earlier process and continues where the log ends.

        Args:
            kind: Kind of the event that comes next.
            make: Computes the event's other fields; not called if the log has the event.
            **key: Fields that identify the event, e.g. ``step=3``.

        Raises:
            RunError: The log has another event at this place: another run wrote it.
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
        """Begin a new log with events of another; ``once`` returns them like the log's own."""
        for event in events:
            self.append(**{key: value for key, value in event.items() if key != "i"})

    def append(self, kind: str, **fields: Any) -> Event:
        """Write one event and wait until it is on disk.

        Raises:
            RunError: The disk is full.
        """
        self._log.append([{"i": len(self.events), "kind": kind, **fields}])
        return self.events[-1]

    def drop_last(self, kinds: Collection[str]) -> None:
        """Remove the last events as long as they are of these kinds."""
        count = len(self.events)
        while count and self.events[count - 1]["kind"] in kinds:
            count -= 1
        self._log.keep(count)

    def of(self, kind: str) -> Iterator[Event]:
        """Iterate over the events of one kind."""
        return (event for event in self.events if event["kind"] == kind)

    def close(self) -> None:
        """Close the file."""
        self._log.close()


def _check(path: Path, events: Sequence[Event]) -> None:
    for index, event in enumerate(events):
        if event.get("i") != index or "kind" not in event:
            raise damaged(path, index + 1, f"event {event.get('i')} where {index} was due")
