"""Standard output: a console whose tables are whole when they are piped, and JSON."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["screen", "write_out"]

PIPED = 10_000
"""Columns where the output is no terminal: nothing is cut off for a file or another program."""


def screen(**options: Any) -> Console:
    """Return a console on standard output.

    Args:
        **options: For ``rich.console.Console``.
    """
    from rich.console import Console

    console = Console(highlight=False, **options)
    if not console.is_terminal:
        console.width = PIPED
    return console


def write_out(text: str) -> None:
    """Write text to standard output; what its encoding lacks is spelled out."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
