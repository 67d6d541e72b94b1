"""A sweep in the terminal: what failed first, then the phases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from custodes.report.terminal import Line, print_lines
from custodes.text import visible

__all__ = ["print_phases"]

SHOWN = 8


def print_phases(result: Mapping[str, Any], report: Path) -> None:
    """Print a map, in colours where the output is a terminal.

    Args:
        result: What ``phases.json`` holds.
        report: Where the page is.
    """
    print_lines([Line(visible(line), _style(line)) for line in lines(result)], report)


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Say it in lines."""
    for control in result["controls"]:
        if control["passed"] is False:
            yield f"CONTROL FAILED: {control['name']}: {control['explanation']}"
    counts = result["counts"]
    yield (
        f"{result['name']}: {counts['done']} runs done, {counts['failed']} failed, "
        f"{counts['running']} not finished; {counts['points']} points"
    )
    for phase, n in sorted(counts["phases"].items()):
        yield f"  {phase}: {n} points"
    surprising = [p for p in result["points"] if p["surprise"]["counts"]]
    for point in surprising[:SHOWN]:
        place = ", ".join(f"{name}={value}" for name, value in point["point"].items())
        surprise = point["surprise"]
        yield (
            f"  surprising at {place}: {surprise['value']:.3g}, where {surprise['expected']:.3g} "
            f"was expected (q {surprise['q']:.2g})"
        )
    if len(surprising) > SHOWN:
        yield f"  and {len(surprising) - SHOWN} more surprising points"
    for row in [row for row in result["structure"] if row["flagged"]][:SHOWN]:
        place = ", ".join(
            f"{name}={value}" for name, value in result["points"][row["point"]]["point"].items()
        )
        what = row["findings"][0] if row["findings"] else "no single difference stands out"
        yield f"  says other things than its neighbours at {place} (q {row['q']:.2g}): {what}"
    for source, scored in result["forecasts"].items():
        yield (
            f"forecasts of the {source}: {scored['covered']:.0%} of {scored['runs']} outcomes in "
            f"their 95% interval, {scored['nats']:.2f} nats"
        )


def _style(line: str) -> str:
    if line.startswith("CONTROL FAILED"):
        return "bold red"
    return "bold" if line.startswith("  surprising at") else ""
