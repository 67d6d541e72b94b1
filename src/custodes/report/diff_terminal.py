"""A diff in the terminal: what failed first, then what was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from custodes.diff.compare import Diff
from custodes.diff.labeler import Labelled
from custodes.diff.output import lines
from custodes.report.terminal import print_lines

__all__ = ["print_diff"]


def print_diff(diff: Diff, labelled: Sequence[Labelled] | None, report: Path) -> None:
    """Print what a diff found, in colours where the output is a terminal.

    Args:
        diff: The comparison.
        labelled: The labeler's hypotheses, None without a labeler.
        report: Where the report is.
    """
    print_lines(list(lines(diff, labelled)), _style, report)


def _style(line: str) -> str:
    if line.startswith("CONTROL FAILED"):
        return "bold red"
    if line.startswith("  F") or line.startswith("  L"):
        return "bold"
    if line.startswith("control:"):
        return "green"
    return "yellow" if line.startswith("note:") else ""
