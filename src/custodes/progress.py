"""Progress on the terminal: what is being done and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Progress", "console", "silent"]

QUIET = 5.0
"""Seconds between two lines where the output is no terminal."""

Progress = Callable[[str, int, int], None]
"""Called with the name of a task, the number of its steps that are done, and their total.

What follows a semicolon in the name says how the task stands, and may change while it goes on."""


def silent(task: str, done: int, total: int) -> None:
    """Show nothing."""
    del task, done, total


def _name(task: str) -> str:
    return task.partition("; ")[0]


@contextmanager
def console() -> Iterator[Progress]:
    """Show bars with the time left on standard error; plain lines where that is no terminal."""
    from rich.console import Console

    screen = Console(stderr=True)
    with _bars(screen) if screen.is_terminal else _lines(screen) as progress:
        yield progress


@contextmanager
def _bars(screen: Console) -> Iterator[Progress]:
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Bars(*columns, console=screen) as bars:
        tasks: dict[str, TaskID] = {}

        def show(task: str, done: int, total: int) -> None:
            # The bar of a finished task goes away; a task that starts again gets a new clock.
            name = _name(task)
            if name in tasks and (done == 0 or done >= total):
                bars.remove_task(tasks.pop(name))
            if done < total:
                if name not in tasks:
                    # What an earlier process did says nothing about this one's speed.
                    tasks[name] = bars.add_task(task, total=total, completed=done)
                bars.update(tasks[name], description=task, completed=done, total=total)

        yield show


@contextmanager
def _lines(screen: Console) -> Iterator[Progress]:
    # rich prints bars without a terminal only once, at the end: a log needs lines on the way.
    starts: dict[str, tuple[float, int]] = {}
    last_line = -QUIET

    def show(task: str, done: int, total: int) -> None:
        nonlocal last_line
        now, name = time.monotonic(), _name(task)
        if name not in starts or done == 0:
            starts[name] = (now, done)
        if now - last_line < QUIET:
            return
        last_line, (start, before) = now, starts[name]
        elapsed = now - start
        left = elapsed * (total - done) / (done - before) if before < done < total else None
        rest = "" if left is None else f", about {left:.0f} s left"
        line = f"{task}: {done}/{total} ({elapsed:.0f} s{rest})"
        screen.print(line, markup=False, soft_wrap=True)

    yield show
