"""Live metrics: where trl's trainers report each step while they train, off by default."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import Literal

from custodes.errors import ConfigError

__all__ = ["ReportTo", "live_metrics", "report_to"]

ReportTo = Literal["none", "trackio", "wandb"]

PROJECTS = {"trackio": "TRACKIO_PROJECT", "wandb": "WANDB_PROJECT"}
"""The variable by which each service is told its project."""

_target: ContextVar[ReportTo] = ContextVar("report_to", default="none")


def report_to() -> ReportTo:
    """Return where trainers report now, as trl's ``report_to``."""
    return _target.get()


@contextmanager
def live_metrics(target: ReportTo, project: str) -> Iterator[None]:
    """Have the trainings inside the ``with`` report their steps while they run.

    Args:
        target: A service whose package is installed, or "none".
        project: The name under which the service shows them, unless its own variable names one.

    Raises:
        ConfigError: The package is not installed.
    """
    if target != "none" and find_spec(target) is None:
        raise ConfigError(
            f"report_to: {target} is not installed", f"pip install {target}, or report_to: none"
        )
    variable = PROJECTS.get(target, "")
    named = variable and variable not in os.environ
    if named:
        os.environ[variable] = project
    token = _target.set(target)
    try:
        yield
    finally:
        _target.reset(token)
        if named:
            os.environ.pop(variable, None)
