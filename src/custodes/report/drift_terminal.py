"""A drift in the terminal: the outcome, controls that failed, then what drifts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from custodes.control import failed
from custodes.drift.e_values import Detectable
from custodes.drift.findings import DriftFinding, drift_findings, drift_outcome
from custodes.drift.lineage import NOT_REQUESTED, Drift
from custodes.report.diff_terminal import control_line
from custodes.report.terminal import Line, print_lines
from custodes.report.wording import bounded, percent, points_between, times
from custodes.text import one_line

__all__ = ["drift_lines", "print_drift"]

MOST_FINDINGS = 15
CORRELATED = 3
"""Correlated behaviours shown of each finding; the report has more."""

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
    findings = drift_findings(drift)
    yield Line(one_line(drift_outcome(drift, findings), 700), "bold")
    yield from map(control_line, failed(drift.controls))
    for statement in drift.aa_run.detected:
        yield Line(f"    {one_line(statement)}")
    for finding in findings[:MOST_FINDINGS]:
        yield from _finding_lines(finding)
    if len(findings) > MOST_FINDINGS:
        yield Line(f"  … and {len(findings) - MOST_FINDINGS} more in drift.json")
    if not findings:
        yield from map(_detectable_line, drift.detectable)
    yield from _concept_lines(drift.concepts or {"left_out": NOT_REQUESTED})
    yield from _questionnaire_lines(drift.questionnaire or {"left_out": NOT_REQUESTED})
    for control in drift.controls:
        if control.passed is not False:
            yield control_line(control)
    yield from (Line(f"note: {one_line(note)}", "yellow") for note in drift.notes)


def _finding_lines(finding: DriftFinding) -> Iterator[Line]:
    b = finding.behaviour
    low, high = b.always[-1]
    trajectory = {
        "stays": "" if b.still_detected else "; no longer detected",
        "recedes": "; recedes",
        "returned": "; returned",
    }[b.trajectory]
    yield Line(f"  {one_line(finding.statement, 300)}", "bold")
    yield Line(f"      detected at generation {b.detected_at}{trajectory}")
    points = ", ".join(f"{100 * one.effect:+.1f}" for one in b.sizes)
    yield Line(
        f"      points against the first, by generation: {points}; interval of the last "
        f"{points_between((low, high))}; e = {_e_value(b.log_e[-1])}"
    )
    if finding.curve:
        steps = (
            f"{times(t.least)} {percent(t.rate_b)} (first {percent(t.rate_a)})"
            for t in finding.curve
        )
        yield Line(f"      {'; '.join(steps)}")
    if finding.correlated:
        names = "; ".join(one_line(name, 80) for name in finding.correlated[:CORRELATED])
        more = len(finding.correlated) - CORRELATED
        yield Line(f"      also: {names}" + (f"; {more} more in the report" if more > 0 else ""))


def _e_value(log_e: float) -> str:
    """Format an e-value, which may be too large for a float."""
    power = log_e / math.log(10)
    return f"{math.exp(log_e):.3g}" if abs(power) < 6 else f"1e{power:+.0f}"


def _detectable_line(detectable: Detectable) -> Line:
    rise = (
        "no rise would have been detected with 80% power"
        if detectable.rise is None
        else f"a lasting rise to {percent(detectable.rate + detectable.rise)} would have been "
        "detected with 80% power"
    )
    return Line(
        f"  of a behaviour that the first shows in {detectable.rate:.0%} of its answers, {rise}"
    )


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


def _questionnaire_lines(questionnaire: Mapping[str, Any]) -> Iterator[Line]:
    if "generations" not in questionnaire:
        reason = str(questionnaire["left_out"])
        if reason != NOT_REQUESTED:
            yield Line(f"stated values: left out ({one_line(reason)})")
        return
    if not questionnaire["readable"]:
        yield Line("stated values: cannot be read, since controls of the questionnaire failed")
        return
    last = questionnaire["generations"][-1]
    yield Line(
        f"stated values ({questionnaire['statements']} statements): stability "
        f"{bounded(last['stability'])} at the last generation (1: nothing changed beyond "
        "noise, 0: unrelated)"
    )
    changed = [row for row in last["behaviours"] if row["changed"]]
    for row in changed:
        yield Line(
            f"  {one_line(row['behaviour'], 40)}: {row['value']['mean']:.2f}, change "
            f"{bounded(row['change'], signed=True)}"
        )
    if not changed:
        yield Line(f"  no change in any of {len(last['behaviours'])} behaviours was detected")
