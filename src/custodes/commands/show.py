"""How verbs print: a line, a table, or JSON; and the exit code that their controls give."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from custodes.screen import screen, write_out
from custodes.text import visible

__all__ = ["conclude", "say", "table"]


def say(text: str) -> None:
    """Print a line that may hold untrusted text."""
    screen(soft_wrap=True).print(visible(text), markup=False)


def table(name: str, rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Print rows with the same keys.

    Args:
        name: What the rows are; the key of the JSON object.
        rows: JSON-ready.
        as_json: Print JSON, and no table.
    """
    if as_json:
        write_out(json.dumps({name: [dict(row) for row in rows]}, indent=2) + "\n")
        return
    from rich.table import Table

    cells = Table(*(rows[0] if rows else ()), box=None, header_style="bold", pad_edge=False)
    for row in rows:
        cells.add_row(*map(_cell, row.values()))
    screen().print(cells)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return visible(str(value))


def conclude(result: Path, as_json: bool, show: Callable[[], None]) -> None:
    """Print a verb's result, and exit with 1 if one of its controls failed.

    Args:
        result: The file that the verb wrote; ``controls`` lists its controls.
        as_json: Print the file and nothing else.
        show: Prints the result for people.
    """
    text = result.read_text(encoding="utf-8")
    if as_json:
        write_out(text)
    else:
        show()
    if any(control["passed"] is False for control in json.loads(text)["controls"]):
        sys.exit(1)
