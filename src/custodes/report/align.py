"""One HTML file of an alignment: the outcome, the controls, and what every stage measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from custodes.errors import RunError
from custodes.report.align_charts import PlanePoint, plane_chart, steps_chart
from custodes.report.page import read_output, render
from custodes.runs.files import write_atomic

__all__ = ["CURVES", "render_align", "write_align_report"]

SCHEMA = 1
WIDTHS = ((340, "wide"), (300, "narrow"))

CURVES = (
    (
        "reward (the reward model's, which is trained against)",
        ("objective/score", "reward"),
        "reward",
    ),
    ("gold (the Experts that labelled)", (), "gold"),
    ("KL from the SL model, nats a completion", ("objective/kl", "kl"), "kl"),
    ("entropy, nats a token", ("objective/entropy", "entropy"), ""),
    ("length, tokens", ("objective/length", "length", "completions/mean_length"), "length"),
    ("loss", ("loss/policy", "ppo/loss/policy", "loss"), ""),
)
"""What is drawn over the steps: title, its names in the series, its name in the evaluations."""


def write_align_report(folder: Path) -> Path:
    """Write ``report.html`` beside the summary of an alignment, as one file of at most 2 MB.

    Raises:
        RunError: The folder has no alignment, it is damaged, or the report cannot be written.
    """
    path = folder / "report.html"
    write_atomic(path, render_align(read_output(folder / "summary.json", "align")))
    return path


def render_align(summary: Mapping[str, Any]) -> str:
    """Write the report of an alignment.

    Args:
        summary: The content of summary.json.

    Returns:
        A whole document without scripts, whose content security policy allows no requests.

    Raises:
        RunError: It was written by another version of custodes.
    """
    if summary.get("schema") != SCHEMA or "stages" not in summary:
        raise RunError(f"summary.json has schema {summary.get('schema')!r}", f"this reads {SCHEMA}")
    stages = summary["stages"]
    report = summary["report"]
    return render(
        "align.html",
        ["report.css", "diff.css"],
        summary=summary,
        report=report,
        models=report["models"] if report else [],
        plane=_plane(report) if report else [],
        red_team=_facts(stages, "red_team"),
        gate=_facts(stages, "revise"),
        sl=_facts(stages, "sl"),
        preferences=_of_stage(stages, "preferences"),
        rewards=_of_stage(stages, "reward"),
        trainings=_of_stage(stages, "rl"),
        curves=list(_curves(stages)),
        files=[
            stage["facts"][key]
            for stage in stages.values()
            for key in ("comparisons", "data")
            if key in stage["facts"]
        ],
    )


def _facts(stages: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    return stages[key]["facts"] if key in stages else None


def _of_stage(stages: Mapping[str, Any], stage: str) -> list[tuple[str, Mapping[str, Any]]]:
    return [(key, one["facts"]) for key, one in stages.items() if one["stage"] == stage]


def _plane(report: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """Draw a point a model, with the intervals of both scores."""
    points = []
    for number, row in enumerate(report["models"], start=1):
        if "helpful" not in row or "constitution" not in row:
            continue
        help_, own = row["helpful"], row["constitution"]
        points.append(
            PlanePoint(
                number,
                x=help_["score"],
                x_low=help_["ci95"][0],
                x_high=help_["ci95"][1],
                y=own["score"],
                y_low=own["ci95"][0],
                y_high=own["ci95"][1],
                control=row["model"].startswith(("sham", "base again")),
            )
        )
    if not points:
        return []
    titles = ("helpfulness (judge's logits)", "the constitution's measure (judge's logits)")
    return [(kind, plane_chart(points, 2 * width - 60, titles)) for width, kind in WIDTHS]


def _curves(stages: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Draw what a training logged at each step, and its measurements on the way."""
    trainings = [
        (one["arm"] == "sham", one["facts"]["training"])
        for one in stages.values()
        if one["stage"] == "rl"
    ]
    for title, names, measured in CURVES:
        curves = []
        for sham, training in trainings:
            points = _series(training, names) or _measured(training, measured)
            if len(points) > 1:
                curves.append((points, sham))
        if curves:
            charts = [(kind, steps_chart(curves, width)) for width, kind in WIDTHS]
            yield {"title": title, "charts": charts}


def _series(training: Mapping[str, Any], names: Sequence[str]) -> list[tuple[float, float]]:
    holders = [training.get("series", {}), training.get("dpo", {})]
    for name in names:
        for holder in holders:
            values = holder.get(name)
            if isinstance(values, list) and values:
                return [
                    (step, value)
                    for step, value in enumerate(values, start=1)
                    if value is not None and math.isfinite(value)
                ]
    return []


def _measured(training: Mapping[str, Any], name: str) -> list[tuple[float, float]]:
    return [
        (row["step"], row[name])
        for row in training.get("evaluations", ())
        if row.get(name) is not None
    ]
