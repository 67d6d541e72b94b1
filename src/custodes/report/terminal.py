"""A run's summary in the terminal: the outcome, failed controls, then the figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from custodes.control import Control
from custodes.report.rows import shown
from custodes.report.wording import (
    count,
    duration,
    interval,
    one_line,
    outcome,
    panel_change,
    panel_name,
    panel_value,
    plural,
    score,
    share,
)
from custodes.screen import screen, write_out
from custodes.text import visible

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Line", "print_lines", "print_summary"]

ROWS = 8
WRAPPED = 4
"""Rows of a table whose cells take several lines."""
"""Longest table; of more rows as many are shown, evenly spaced."""


def print_summary(summary: Mapping[str, Any], report: Path) -> None:
    """Print a run's summary, in colours where the output is a terminal.

    Args:
        summary: The summary that ``oversee`` returned.
        report: Path of its report.
    """
    console = screen()
    with console.capture() as captured:
        _print_outcome(console, summary)
        _print_controls(console, summary)
        _print_gold(console, summary["gold"])
        _print_panel(console, summary.get("panel", ()))
        _print_retrains(console, summary["retrains"])
        _print_perturbations(console, summary["perturbations"])
        _print_cost(console, summary["cost"])
        _say(console, f"report: {visible(str(report))}", soft_wrap=True)
    write_out(captured.get())


@dataclass(frozen=True)
class Line:
    """A line of output.

    Attributes:
        text: Plain text without control characters.
        style: A style of rich, "" for none.
    """

    text: str
    style: str = ""


def print_lines(lines: Iterable[Line], report: Path) -> None:
    """Print lines, and the path of the report.

    Args:
        lines: In their order.
        report: Path of the report.
    """
    console = screen()
    with console.capture() as captured:
        for line in [*lines, Line(f"report: {visible(str(report))}")]:
            _say(console, line.text, line.style, soft_wrap=True)
    # Model names are anybody's text, and not every terminal can write all of it.
    write_out(captured.get())


def _say(console: Console, text: str, style: str = "", **options: Any) -> None:
    """Print text as it is: no markup in it is read."""
    from rich.text import Text

    console.print(Text(text, style), **options)


def _print_outcome(console: Console, summary: Mapping[str, Any]) -> None:
    if not summary["finished"]:
        name = one_line(summary["name"], 60)
        _say(console, f"{name} is not finished: this is about the steps it has", "bold yellow")
    _say(console, outcome(summary), "bold")


def _print_controls(console: Console, summary: Mapping[str, Any]) -> None:
    controls = [Control.from_dict(row) for row in summary["controls"]]
    failures = [control for control in controls if control.passed is False]
    untested = [control for control in controls if control.passed is None]
    tested = len(controls) - len(untested)
    name = one_line(summary["name"], 60)
    if failures:
        _say(console, f"{name}: {len(failures)} of {tested} controls FAILED", "bold red")
    elif tested:
        _say(console, f"{name}: all {tested} tested controls passed", "bold green")
    else:
        _say(console, f"{name}: no control has been tested", "bold red")
    _print_list(console, failures, "red")
    if untested:
        _say(console, f"{plural(len(untested), 'control')} not tested:", "yellow")
        _print_list(console, untested, "yellow")


def _print_list(console: Console, controls: Sequence[Control], style: str) -> None:
    from rich.padding import Padding
    from rich.text import Text

    for control in controls[:ROWS]:
        line = f"{one_line(control.name)}: {one_line(control.explanation, 400)}"
        console.print(Padding(Text(line, style), (0, 0, 0, 2), expand=False))
    if len(controls) > ROWS:
        _say(console, f"  and {len(controls) - ROWS} more, on top of the report", style)


def _print_gold(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    cells = []
    for domain in dict.fromkeys(row["domain"] for row in rows):
        mine = [row for row in rows if row["domain"] == domain]
        for i, row in enumerate(shown(mine, ROWS).rows):
            cells.append(
                [
                    "" if i else domain,
                    str(row["checkpoint"]),
                    f"{score(row['score'])} {interval(row['ci95'])}",
                    f"{score(row['change'])} {interval(row['change_ci95'])}",
                    share(row["better"]),
                ]
            )
    _table(console, ["gold (logits)", ">checkpoint", ">score", ">change", ">rose on"], cells)


def _print_panel(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    last = {row["quantity"]: row for row in rows}
    cells = [
        [
            panel_name(name),
            str(row["checkpoint"]),
            f"{panel_value(name, row['value'])}",
            panel_change(row),
        ]
        for name, row in last.items()
    ]
    _table(console, ["beside it", ">checkpoint", ">mean", ">change"], cells)


def _print_retrains(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    cells = [
        [
            f"{row['parent']} → {row['checkpoint']}",
            str(row["step"]),
            row["intervention"] + (" (needless)" if row.get("needless") else ""),
            "not measured" if moved is None else f"{moved:.2g}",
            share(row["served"]["agreement"] if row["served"] else None),
        ]
        for row in shown(rows, ROWS).rows
        for moved in (row["metrics"].get("weights_moved"),)
    ]
    head = ["new checkpoint", ">step", "made by", ">weights moved", ">agreement"]
    _table(console, head, cells, len(rows))


def _print_perturbations(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    cells = [
        [
            row["name"],
            "; ".join(row.get("misled", ())) or "–",
            row["recovery"]["explanation"],
            plural(row["recovery"]["steps"], "step")
            if row["recovery"]["outcome"] == "recovered"
            else "–",
        ]
        for row in shown(rows, WRAPPED).rows
    ]
    _table(
        console, ["perturbation", "misled the Overseer", "outcome", ">recovery"], cells, len(rows)
    )


def _print_cost(console: Console, cost: Mapping[str, Any]) -> None:
    console.print()
    _say(
        console,
        f"{duration(cost['seconds'])}, {plural(cost['responses'], 'response')}, "
        f"{plural(cost['retrains'], 'new checkpoint')}, {plural(cost['judge_calls'], 'judge call')}"
        f", {count(cost['prompt_tokens'])} tokens read, {count(cost['completion_tokens'])} written",
    )


def _table(
    console: Console, head: Sequence[str], rows: Sequence[Sequence[str]], total: int = 0
) -> None:
    """Print rows of untrusted text, of ``total``; titles of columns of figures begin with ">"."""
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in head:
        figures = title.startswith(">")
        table.add_column(
            title.lstrip(">"),
            justify="right" if figures else "left",
            no_wrap=figures,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(one_line(cell, 300)) for cell in row))
    console.print()
    console.print(table)
    if len(rows) < total:
        _say(console, f"({len(rows)} of {total} rows; the report has more)")
