"""An alignment in the terminal: the outcome, failed controls, then the models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from custodes.control import Control
from custodes.report.diff_terminal import control_line
from custodes.report.terminal import Line, print_lines
from custodes.report.wording import plural, score, share
from custodes.text import one_line

__all__ = ["align_lines", "print_align"]

STYLES = {"yes": "green", "no": "red", "not shown": "yellow"}


def print_align(summary: Mapping[str, Any], report: Path) -> None:
    """Print the summary of an alignment, in colours if the output is a terminal.

    Args:
        summary: What `align` returned.
        report: Path of the report.
    """
    print_lines(align_lines(summary), report)


def align_lines(summary: Mapping[str, Any]) -> Iterator[Line]:
    """Describe an alignment in lines that are safe to print (with markup off)."""
    if summary["inverted"]:
        yield Line("INVERTED: a model organism, trained to do what it should not", "bold red")
    yield Line(one_line(summary["outcome"], 1500), "bold red" if summary["stopped"] else "bold")
    controls = [Control.from_dict(row) for row in summary["controls"]]
    failed = [control for control in controls if control.passed is False]
    tested = sum(control.passed is not None for control in controls)
    if failed:
        yield Line(f"{len(failed)} of {plural(tested, 'tested control')} FAILED", "bold red")
    elif tested:
        yield Line(f"all {plural(tested, 'tested control')} passed", "bold green")
    yield from (control_line(control) for control in controls if control.passed is not True)
    report = summary["report"]
    if report is None:
        return
    for claim in report["claims"]:
        text = f"{claim['verdict']}: {claim['statement']}: {claim['explanation']}"
        yield Line(f"  {one_line(text, 300)}", STYLES[claim["verdict"]])
    for row in report["models"]:
        own, helpful = row.get("constitution"), row.get("helpful")
        refused = row.get("refusals_look_alikes")
        yield Line(
            f"  {one_line(row['model'], 30):<14} constitution {_score(own)}"
            f"  helpful {_score(helpful)}"
            + (f"  over-refusal {share(refused['share'])}" if refused else "")
            + f"  {row['words_helpful']:.0f} words"
        )


def _score(row: Mapping[str, Any] | None) -> str:
    return "–" if row is None else score(row["score"])
