"""A drift in the terminal: what failed first, then what drifts."""

from __future__ import annotations

from pathlib import Path

from custodes.drift.lineage import Drift
from custodes.drift.output import lines
from custodes.report.terminal import print_lines

__all__ = ["print_drift"]


def print_drift(drift: Drift, report: Path) -> None:
    """Print what a drift found, in colours where the output is a terminal.

    Args:
        drift: What became of the lineage.
        report: Where the report is.
    """
    print_lines(list(lines(drift)), _style, report)


def _style(line: str) -> str:
    if line.startswith("CONTROL FAILED"):
        return "bold red"
    if line.startswith("control:"):
        return "green"
    if line.startswith("  ") and ": certain at generation" in line:
        return "bold"
    return ""
