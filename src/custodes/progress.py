"""Telling a person what is going on and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Progress", "console", "silent"]

QUIET = 5.0
"""Seconds between two lines where the output is no terminal."""

Progress = Callable[[str, int, int], None]
"""Called with what is going on, how much of it is done, and how much there is."""


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""
    del what, done, total


@contextmanager
def console() -> Iterator[Progress]:
    """Show bars with the time left on standard error; plain lines where that is no terminal."""
    from rich.console import Console

    screen = Console(stderr=True)
    with _bars(screen) if screen.is_terminal else _lines(screen) as progress:
        yield progress


@contextmanager
def _bars(screen: object) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    assert isinstance(screen, Console)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Bars(*columns, console=screen) as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            # A stage that is over makes room; one that starts again gets a fresh clock.
            if what in tasks and (done == 0 or done >= total):
                bars.remove_task(tasks.pop(what))
            if done < total:
                if what not in tasks:
                    tasks[what] = bars.add_task(what, total=total)
                bars.update(tasks[what], completed=done, total=total)

        yield show


@contextmanager
def _lines(screen: object) -> Iterator[Progress]:
    from rich.console import Console

    assert isinstance(screen, Console)
    begun: dict[str, float] = {}
    told = -QUIET

    def show(what: str, done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if what not in begun or done == 0:
            begun[what] = now
        if now - told < QUIET:
            return
        told, elapsed = now, now - begun[what]
        left = f", about {elapsed * (total - done) / done:.0f} s left" if 0 < done < total else ""
        line = f"{what}: {done}/{total} ({elapsed:.0f} s{left})"
        screen.print(line, markup=False, soft_wrap=True)

    yield show
