"""The log survives whatever a crash leaves behind, and damage is never papered over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from custodes.errors import RunError
from custodes.runs.events import EventLog, read_events


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_what_was_appended_is_there_at_once(path: Path) -> None:
    log = EventLog(path)
    log.append("start", text="ünïcode \u2028 \ud800 \x00")
    assert read_events(path) == log.events
    assert path.read_bytes().count(b"\n") == 1


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_torn_last_line_is_dropped_wherever_it_tore(path: Path, cut: int) -> None:
    log = EventLog(path)
    log.append("start")
    whole = path.read_bytes()
    log.append("step", step=0, note="long enough to tear")
    log.close()
    torn = path.read_bytes()[: len(whole) + cut]
    path.write_bytes(torn)
    again = EventLog(path)
    assert [event["kind"] for event in again.events] == ["start"]
    assert again.torn == cut
    assert path.read_bytes() == whole
    again.append("step", step=0)
    assert len(read_events(path)) == 2


def test_a_whole_last_line_of_rubbish_is_torn_too(path: Path) -> None:
    EventLog(path).append("start")
    with path.open("ab") as handle:
        handle.write(b'{"i":1,"kind":"st\x00\x00\n')
    assert [event["i"] for event in EventLog(path).events] == [0]


@pytest.mark.parametrize("line", [b"rubbish\n", b'{"i":7,"kind":"step"}\n', b"[]\n", b"\n"])
def test_damage_before_the_end_is_an_error(path: Path, line: bytes) -> None:
    log = EventLog(path)
    log.append("start")
    log.append("end")
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + line + second)
    with pytest.raises(RunError, match=r"events\.jsonl line 2 is damaged"):
        EventLog(path)


def test_numbers_that_are_none_are_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        EventLog(path).append("step", loss=float("nan"))


def test_once_makes_each_event_once_and_replays_it_after(path: Path) -> None:
    made: list[int] = []

    def work(log: EventLog, steps: int) -> list[object]:
        def make(step: int) -> dict[str, object]:
            made.append(step)
            return {"square": step * step}

        return [log.once("step", lambda: make(s), step=s)["square"] for s in range(steps)]  # noqa: B023

    log = EventLog(path)
    assert work(log, 2) == [0, 1]
    log.close()
    again = EventLog(path)
    assert again.replaying
    assert work(again, 4) == [0, 1, 4, 9]
    assert not again.replaying
    assert made == [0, 1, 2, 3]


def test_once_refuses_the_log_of_another_run(path: Path) -> None:
    log = EventLog(path)
    log.append("step", step=5)
    log.close()
    with pytest.raises(RunError, match="was due"):
        EventLog(path).once("step", dict, step=0)


def test_events_come_back_as_json_would_give_them(path: Path) -> None:
    event = EventLog(path).append("x", pair=(1, 2))
    assert event == json.loads(path.read_text())
