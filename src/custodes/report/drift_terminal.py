"""A drift in the terminal: what failed first, then what drifts."""

from __future__ import annotations

import sys
from pathlib import Path

from custodes.diff.drift import Drift
from custodes.diff.drift_output import lines
from custodes.text import visible

__all__ = ["print_drift"]


def print_drift(drift: Drift, report: Path) -> None:
    """Print what a drift found, in colours where the output is a terminal.

    Args:
        drift: What became of the lineage.
        report: Where the report is.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    with console.capture() as captured:
        for line in [*lines(drift), f"report: {visible(str(report))}"]:
            console.print(Text(line, _style(line)), soft_wrap=True)
    encoding = console.encoding
    sys.stdout.write(captured.get().encode(encoding, "backslashreplace").decode(encoding))


def _style(line: str) -> str:
    if line.startswith("CONTROL FAILED"):
        return "bold red"
    if line.startswith("control:"):
        return "green"
    if line.startswith("  ") and ": certain at generation" in line:
        return "bold"
    return ""
