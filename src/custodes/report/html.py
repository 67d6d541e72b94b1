"""One HTML file of a run: it opens offline, runs no script, and escapes every text in it."""

from __future__ import annotations

from typing import Any

from custodes.control import Control
from custodes.report import page
from custodes.report.record import Record
from custodes.report.sections import (
    changed_texts,
    expert_cards,
    gold_sections,
    panel_rows,
    perturbation_rows,
    ratings_sections,
    retrain_rows,
    worst_texts,
)

__all__ = ["render"]

CONFIG = 40_000
"""Characters of the config that are shown."""

CONTROLS = 400
"""Controls that are shown; those that failed come first, then those not tested."""


LEGENDS = {
    "seen": "mean rating that the Overseer saw",
    "clean": "before perturbations",
    "null": "null run",
    "threshold": "threshold",
    "passing": "Overseer's statistic: passes",
    "failing": "Overseer's statistic: fails",
    "mine": "new checkpoint for this domain",
    "other": "other new checkpoint",
    "span": "perturbation",
}


def render(record: Record) -> str:
    """Write a report.

    Args:
        record: The run folder's content.

    Returns:
        A whole document. It holds no script, and its content security policy allows neither
        scripts nor requests, nor any style but its own.
    """
    return page.render("report.html", ["report.css"], record=record, **_context(record))


def _context(record: Record) -> dict[str, Any]:
    summary = record.summary
    config = record.config
    context: dict[str, Any] = {
        "config": config[:CONFIG],
        "config_left": max(0, len(config) - CONFIG),
        "summary": summary,
        "legends": LEGENDS,
        "experts": expert_cards(record.start),
    }
    if summary is None:
        return context
    controls = [Control.from_dict(row) for row in summary["controls"]]
    return {
        **context,
        "failed": [control for control in controls[:CONTROLS] if control.passed is False],
        "untested": [control for control in controls[:CONTROLS] if control.passed is None],
        "passed": [control for control in controls[:CONTROLS] if control.passed],
        "tested": sum(control.passed is not None for control in controls),
        "controls_left": max(0, len(controls) - CONTROLS),
        "gold": gold_sections(summary),
        "panel": panel_rows(summary),
        "ratings": ratings_sections(summary, record.planned or record.steps),
        "perturbations": perturbation_rows(summary),
        "retrains": retrain_rows(summary),
        "changed": changed_texts(summary),
        "worst": worst_texts(summary),
        "cost": summary["cost"],
    }
