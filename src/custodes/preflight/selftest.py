"""The preflight's own control: every planted bug goes red, and clean trainers stay green."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

__all__ = ["Outcome", "self_test"]


@dataclass(frozen=True)
class Outcome:
    """One trainer of the self-test.

    Attributes:
        id: The plant, or "clean KIND".
        wanted: Checks that had to fail; empty for a clean one.
        failed: Checks that failed.
        held: Whether it went as it had to.
        seconds: Wall-clock time of the check.
        about: The bug in a sentence.
    """

    id: str
    wanted: tuple[str, ...]
    failed: tuple[str, ...]
    held: bool
    seconds: float
    about: str

    def to_dict(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {**self.__dict__, "wanted": list(self.wanted), "failed": list(self.failed)}


def self_test(
    names: Collection[str] = (),
    *,
    progress: Callable[[str], Any] = lambda _line: None,
    whole: bool = False,
) -> list[Outcome]:
    """Plant each known bug into a tiny trainer and check it; check clean ones, too.

    Args:
        names: Parts of the names of plants; empty: all.
        progress: Told a line a trainer.
        whole: Run all checks on each plant; else only those that name it, and on clean ones all.
    """
    from custodes.preflight.plants.catalogue import plants
    from custodes.preflight.plants.trainers import KINDS, build, quiet
    from custodes.preflight.run import check

    outcomes: list[Outcome] = []

    def run(id: str, make: Callable[[Path], Any], wanted: tuple[str, ...], about: str) -> None:
        with tempfile.TemporaryDirectory(prefix="custodes-") as folder:
            with quiet():
                trainer = make(Path(folder))
            began = time.perf_counter()
            report = check(trainer, only=() if whole or not wanted else wanted, seconds=600)
            seconds = time.perf_counter() - began
        red = tuple(one.id for one in report.failed)
        held = bool(set(wanted) & set(red)) if wanted else not red
        outcomes.append(Outcome(id, wanted, red, held, seconds, about))
        mark = "as it should" if held else "NOT AS IT SHOULD"
        progress(f"{id}: {mark} ({', '.join(red) or 'no alarm'}, {seconds:.1f} s)")

    def matches(id: str) -> bool:
        return not names or any(name in id for name in names)

    for kind in KINDS:
        if matches(f"clean {kind}"):
            run(f"clean {kind}", partial(build, kind), (), "a trainer without a bug")
    for one in plants():
        if matches(one.id):
            run(one.id, one.build, one.checks, one.about)
    return outcomes
