"""One HTML file of a drift: the outcome, the controls, then each finding by generation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from custodes.drift.lineage import NOT_REQUESTED
from custodes.errors import RunError
from custodes.report.charts import Curve, GoldPoint, curves_chart, gold_chart
from custodes.report.page import marked, read_output, render
from custodes.runs.files import write_atomic

__all__ = ["render_drift", "write_drift_report"]

SCHEMA = 3
IN_FULL = 12
"""Findings with charts and examples; the others get a row in a table."""

ROWS = 100
CURVES = 8
"""Findings in the chart of e-values."""

PAIRS = 15
"""Pairs of concepts in the table."""

WIDTHS = ((380, "wide"), (340, "narrow"))
CURVE_WIDTHS = ((680, "wide"), (340, "narrow"))
"""The narrow charts are for phones: they are shown at their size, and so are their labels."""


def write_drift_report(folder: Path) -> Path:
    """Write ``report.html`` beside a ``drift.json``, as one file of at most 2 MB.

    Raises:
        RunError: The folder has no drift, it is damaged, or the report cannot be written.
    """
    path = folder / "report.html"
    write_atomic(path, render_drift(read_output(folder / "drift.json", "drift")))
    return path


def render_drift(drift: Mapping[str, Any]) -> str:
    """Write the report of a drift.

    Args:
        drift: The content of drift.json.

    Returns:
        A whole document without scripts, whose content security policy allows no requests.

    Raises:
        RunError: It was written by another version of custodes.
    """
    if drift.get("schema") != SCHEMA:
        raise RunError(f"drift.json has schema {drift.get('schema')!r}", f"this reads {SCHEMA}")
    behaviours = {b["statement"]: b for b in drift["drifted"]}
    findings = [behaviours[f["behaviour"]] | f for f in drift["findings"]]
    concepts = drift["concepts"]
    # A drift.json of an older version has no questionnaire.
    values = drift.get("questionnaire", {"left_out": NOT_REQUESTED})
    return render(
        "drift.html",
        ["report.css", "diff.css"],
        drift=drift,
        full=[f | {"charts": _effect_charts(f)} for f in findings[:IN_FULL]],
        rest=findings[IN_FULL:][:ROWS],
        left=max(0, len(findings) - IN_FULL - ROWS),
        generations=len(drift["lineage"]) - 1,
        e_values=_e_value_charts(drift, findings[:CURVES]),
        curves=[f["statement"] for f in findings[:CURVES]]
        or [b["statement"] for b in drift["not_detected"][:CURVES]],
        pairs=_pairs(concepts) if "generations" in concepts else [],
        values=values if "generations" in values else None,
        values_left_out=None
        if "generations" in values or values["left_out"] == NOT_REQUESTED
        else values["left_out"],
        marked=marked,
        e_value=_e_value,
    )


def _effect_charts(behaviour: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """Draw the effect against the first by generation, in points, beside the A/A run's."""
    aa_run = behaviour["aa_run"] or {"against_first": []}
    rows = []
    for null, effects in ((False, behaviour), (True, aa_run)):
        for row in effects["against_first"]:
            mean, low, high = (100 * x for x in (row["effect"], *row["always95"]))
            rows.append(GoldPoint(row["generation"], mean, low, high, null=null))
    return [(kind, gold_chart(rows, width, True, "generation", "points")) for width, kind in WIDTHS]


def _e_value_charts(
    drift: Mapping[str, Any], findings: Sequence[Mapping[str, Any]]
) -> list[tuple[str, Markup]]:
    """Draw the e-values by generation, on a log scale, and the A/A run's largest."""
    behaviours = findings or drift["not_detected"][:CURVES]
    if not behaviours:
        return []
    curves = [
        Curve(_decimal(b["log_e"]), null=False, name=str(k))
        for k, b in enumerate(behaviours, start=1)
    ]
    aa_runs = [b["aa_run"]["log_e"] for b in behaviours if b["aa_run"]]
    if aa_runs:
        highest = [max(values) for values in zip(*aa_runs, strict=True)]
        curves.append(Curve(_decimal(highest), null=True))
    level = drift["threshold_log_e"] / math.log(10)
    unit = "e-value, power of ten"
    return [(kind, curves_chart(curves, level, width, unit)) for width, kind in CURVE_WIDTHS]


def _decimal(log_e: Sequence[float]) -> list[float]:
    return [value / math.log(10) for value in log_e]


def _pairs(concepts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Lay out concept pairs by generation, those that moved most at the end first."""
    last = concepts["generations"][-1]["pairs"]
    rows = []
    for row in last[:PAIRS]:
        by_generation = [
            next(p for p in generation["pairs"] if p["pair"] == row["pair"])
            for generation in concepts["generations"]
        ]
        rows.append({"pair": row["pair"], "before": row["before"], "generations": by_generation})
    return rows


def _e_value(log_e: float) -> str:
    """Format an e-value, which may be too large for a float."""
    power = log_e / math.log(10)
    return f"{math.exp(log_e):.2g}" if abs(power) < 6 else f"10^{power:.0f}"
