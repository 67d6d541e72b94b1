"""The report as a table for the terminal."""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING

from custodes.text import visible

if TYPE_CHECKING:
    from custodes.preflight.result import Report

__all__ = ["table"]

_MARK = {"failed": "✗ failed", "not tested": "– not tested", "passed": "✓ passed"}


def table(report: Report, *, width: int | None = None, every: bool = False) -> str:
    """Return the report as text: failures first, each with its remedy.

    Args:
        report: What to show.
        width: Columns; the terminal's if not given.
        every: Also show checks that do not apply to this kind of trainer.
    """
    columns = width or min(shutil.get_terminal_size((100, 24)).columns, 120)
    results = [
        one for one in report.ordered if every or not one.explanation.startswith("does not apply")
    ]
    head = (
        f"preflight of {report.trainer}: {len(report.failed)} failed, {len(report.passed)} passed, "
        f"{sum(one.passed is None for one in results)} not tested, {report.seconds:.1f} s"
    )
    name = max([len(one.id) for one in results], default=0)
    lines = [head, ""]
    for one in results:
        left = f"{_MARK[one.status]:<13} {one.id:<{name}}  "
        lines += _wrapped(left, one.explanation, columns)
        if one.passed is False:
            pad = " " * 14
            lines += _wrapped(f"{pad}expected: ", one.expected, columns)
            lines += _wrapped(f"{pad}remedy: ", one.remedy, columns)
            lines += _wrapped(f"{pad}seen in: ", one.reference, columns)
    return visible("\n".join(lines))


def _wrapped(left: str, text: str, columns: int) -> list[str]:
    room = max(columns - len(left), 30)
    parts = textwrap.wrap(text, room, break_long_words=False) or [""]
    return [left + parts[0], *(" " * len(left) + part for part in parts[1:])]
