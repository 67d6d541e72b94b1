"""A drift in the terminal: failed controls first, then the behaviours that drift."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from custodes.control import failed
from custodes.drift.e_values import Detectable
from custodes.drift.lineage import NOT_REQUESTED, Drift
from custodes.drift.monitor import Behaviour
from custodes.report.diff_terminal import control_line
from custodes.report.terminal import Line, print_lines
from custodes.text import one_line

__all__ = ["drift_lines", "print_drift"]

MOST_BEHAVIOURS = 25
MOST_PAIRS = 5


def print_drift(drift: Drift, report: Path) -> None:
    """Print a drift, in colours if the output is a terminal.

    Args:
        drift: The result for a lineage.
        report: Path of the report.
    """
    print_lines(drift_lines(drift), report)


def drift_lines(drift: Drift) -> Iterator[Line]:
    """Describe a drift in lines that are safe to print (with markup off)."""
    yield Line(
        f"{one_line(drift.names[0], 60)} and {len(drift.names) - 1} later generations, "
        f"{drift.prompts} prompts, {drift.samples} responses each"
    )
    yield from map(control_line, failed(drift.controls))
    for statement in drift.aa_run.detected:
        yield Line(f"    {one_line(statement)}")
    drifted = drift.drifted
    yield Line(
        f"{len(drifted)} of {len(drift.behaviours)} behaviours drift (alpha {drift.fdr:g}, at "
        f"whatever generation one stops); {sum(b.returned for b in drifted)} returned"
    )
    for b in drifted[:MOST_BEHAVIOURS]:
        yield from _behaviour_lines(b)
    if len(drifted) > MOST_BEHAVIOURS:
        yield Line(f"  … and {len(drifted) - MOST_BEHAVIOURS} more in drift.json")
    if not drifted:
        yield from map(_detectable_line, drift.detectable)
    yield from _concept_lines(drift.concepts or {"left_out": NOT_REQUESTED})
    for control in drift.controls:
        if control.passed is not False:
            yield control_line(control)
    yield from (Line(f"note: {one_line(note)}", "yellow") for note in drift.notes)


def _behaviour_lines(b: Behaviour) -> Iterator[Line]:
    size, (low, high) = b.sizes[-1], b.always[-1]
    trajectory = {
        "stays": "" if b.still_detected else "; no longer detected",
        "recedes": "; recedes",
        "returned": "; returned",
    }[b.trajectory]
    yield Line(
        f"  {one_line(b.statement)}: detected at generation {b.detected_at}{trajectory}", "bold"
    )
    points = ", ".join(f"{100 * one.effect:+.1f}" for one in b.sizes)
    yield Line(
        f"      {points} points against the first; last "
        f"[{100 * low:+.0f}, {100 * high:+.0f}], {size.rate_a:.0%} → {size.rate_b:.0%}; "
        f"e = {_e_value(b.log_e[-1])}"
    )


def _e_value(log_e: float) -> str:
    """Format an e-value, which may be too large for a float."""
    power = log_e / math.log(10)
    return f"{math.exp(log_e):.3g}" if abs(power) < 6 else f"1e{power:+.0f}"


def _detectable_line(detectable: Detectable) -> Line:
    rise = (
        "no rise would have been detected with 80% power"
        if detectable.rise is None
        else f"a lasting rise of {100 * detectable.rise:.0f} points would have been detected with "
        "80% power"
    )
    return Line(f"  of a behaviour that the first shows {detectable.rate:.0%} of the time, {rise}")


def _concept_lines(concepts: Mapping[str, Any]) -> Iterator[Line]:
    if "generations" not in concepts:
        yield Line(f"concepts: left out ({one_line(str(concepts['left_out']))})")
        return
    pairs = concepts["generations"][-1]["pairs"]
    moved = [row for row in pairs if row["drifted"]]
    yield Line(f"concepts (layer {concepts['layer']}): {len(moved)} of {len(pairs)} pairs moved")
    for row in moved[:MOST_PAIRS]:
        one, two = row["pair"]
        change = row["now"] - row["before"]
        yield Line(
            f"  {one_line(one, 40)} – {one_line(two, 40)}: cosine distance {row['before']:.4f} → "
            f"{row['now']:.4f} ({change:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}])"
        )
