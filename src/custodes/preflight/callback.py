"""A callback that checks a trainer as its training begins, and again while it trains."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from typing import Any

from transformers import TrainerCallback

from custodes.preflight.result import Report

__all__ = ["PreflightCallback"]


class PreflightCallback(TrainerCallback):  # type: ignore[misc]
    """Check a trainer at `on_train_begin`, and every n steps if asked.

    >>> trainer.add_callback(PreflightCallback(trainer))  # doctest: +SKIP

    Args:
        trainer: The trainer it is added to.
        every: Steps between later checks; 0: only at the beginning.
        stop: Whether a failed check ends the training with a `PreflightError`.
        show: Where the table goes; None: nowhere.
        options: For `check`, e.g. ``skip=["save-load"]``.
    """

    def __init__(
        self,
        trainer: Any,
        *,
        every: int = 0,
        stop: bool = True,
        show: Callable[[str], Any] | None = sys.stderr.write,
        only: Collection[str] = (),
        skip: Collection[str] = (),
        seconds: float = 20.0,
    ) -> None:
        self._trainer = trainer
        self._every = every
        self._stop = stop
        self._show = show
        self._options: dict[str, Any] = {"only": only, "skip": skip, "seconds": seconds}
        self.reports: list[Report] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Check before the first step."""
        del args, state, control
        self._check(())

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Check again every n steps; the reference has been left by then."""
        del args, control
        if self._every and state.global_step % self._every == 0:
            self._check(("reference-is-start", "schedule-rate"))

    def _check(self, skip: Collection[str]) -> None:
        from custodes.preflight.run import check

        options = dict(self._options)
        options["skip"] = (*options["skip"], *skip)
        report = check(self._trainer, **options)
        self.reports.append(report)
        if self._show is not None and report.rank == 0:
            self._show(f"{report}\n")
        if self._stop:
            report.raise_if_failed()
