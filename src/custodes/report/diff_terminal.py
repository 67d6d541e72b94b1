"""A diff in the terminal: what failed first, then what was found."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from custodes.diff.compare import Diff
from custodes.diff.labeler import Labelled
from custodes.diff.output import lines
from custodes.text import visible

__all__ = ["print_diff"]


def print_diff(diff: Diff, labelled: Sequence[Labelled] | None, report: Path) -> None:
    """Print what a diff found, in colours where the output is a terminal.

    Args:
        diff: The comparison.
        labelled: The labeler's hypotheses, None without a labeler.
        report: Where the report is.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    with console.capture() as captured:
        for line in [*lines(diff, labelled), f"report: {visible(str(report))}"]:
            console.print(Text(line, _style(line)), soft_wrap=True)
    encoding = console.encoding
    sys.stdout.write(captured.get().encode(encoding, "backslashreplace").decode(encoding))


def _style(line: str) -> str:
    if line.startswith("CONTROL FAILED"):
        return "bold red"
    if line.startswith("  F") or line.startswith("  L"):
        return "bold"
    if line.startswith("control:"):
        return "green"
    return "yellow" if line.startswith("note:") else ""
