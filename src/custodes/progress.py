"""Telling a person what is going on and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Progress", "console", "silent"]

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
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    assert isinstance(screen, Console)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Bars(*columns, console=screen) as bars:
        tasks: dict[str, object] = {}

        def show(what: str, done: int, total: int) -> None:
            # A stage that starts again (the next retrain's training) gets a fresh clock.
            if what not in tasks or done == 0:
                if what in tasks:
                    bars.remove_task(tasks[what])  # type: ignore[arg-type]
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)  # type: ignore[arg-type]

        yield show


@contextmanager
def _lines(screen: object) -> Iterator[Progress]:
    from rich.console import Console

    assert isinstance(screen, Console)
    begun: dict[str, float] = {}
    told: dict[str, float] = {}

    def show(what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what not in begun or done == 0:
            begun[what] = now
        elapsed = now - begun[what]
        if done < total and now - told.get(what, -1e9) < 10:
            return
        told[what] = now
        left = f", about {elapsed * (total - done) / done:.0f} s left" if 0 < done < total else ""
        screen.print(f"{what}: {done}/{total} ({elapsed:.0f} s{left})", markup=False)

    yield show
