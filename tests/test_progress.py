from __future__ import annotations

import io

import pytest
from rich.console import Console

from custodes import progress as module
from custodes.progress import _bars, _lines


def test_what_goes_on_is_no_markup() -> None:
    file = io.StringIO()
    with _bars(Console(file=file, force_terminal=True, width=120)) as progress:
        progress("A answers (say [/red] [bold]x)", 1, 3)
    assert "say [/red] [bold]x" in file.getvalue()


def test_a_task_that_goes_on_tells_the_time_left_from_its_own_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0.0, 100.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    file = io.StringIO()
    with _lines(Console(file=file, width=120)) as progress:
        progress("runs; 1 running", 20, 26)
        progress("runs; 1 running, 1 failed", 22, 26)
    first, second = file.getvalue().splitlines()
    assert first == "runs; 1 running: 20/26 (0 s)"
    # 2 runs took 100 s, and 4 are left; with the 20 of before it would be 18 s.
    assert second == "runs; 1 running, 1 failed: 22/26 (100 s, about 200 s left)"


def test_a_bar_may_change_what_it_says_of_its_task() -> None:
    file = io.StringIO()
    with _bars(Console(file=file, force_terminal=True, width=120)) as progress:
        progress("runs; 1 running", 0, 3)
        progress("runs; 1 running, 1 failed", 1, 3)
    last = file.getvalue().rpartition("runs; 1 running")[2]
    assert "1 failed" in last
    assert "1/3" in last
