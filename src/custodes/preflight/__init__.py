"""Preflight: know before the first step that a training does what its config says.

>>> from custodes.preflight import check  # doctest: +SKIP
>>> report = check(trainer)  # doctest: +SKIP
>>> report.failed  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from custodes.preflight.result import NotTestable, PreflightError, Report, Result

if TYPE_CHECKING:
    from custodes.preflight.callback import PreflightCallback
    from custodes.preflight.run import check

__all__ = ["NotTestable", "PreflightCallback", "PreflightError", "Report", "Result", "check"]


def __getattr__(name: str) -> Any:
    """Import what needs torch or transformers only when it is asked for."""
    if name == "check":
        from custodes.preflight.run import check

        return check
    if name == "PreflightCallback":
        from custodes.preflight.callback import PreflightCallback

        return PreflightCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
