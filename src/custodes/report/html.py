"""One HTML file of a run: opens offline, runs nothing, and trusts no text in it."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from markupsafe import Markup

from custodes.report import page
from custodes.report.record import Record
from custodes.report.sections import (
    changed_texts,
    expert_cards,
    gold_sections,
    perturbation_rows,
    ratings_sections,
    retrain_rows,
    worst_texts,
)

__all__ = ["render"]

CONFIG = 40_000
"""Characters of the config that are shown."""

CONTROLS = 400
"""Controls that are shown; those that failed come first."""


LEGENDS = {
    "seen": "mean rating that the Overseer saw",
    "clean": "before perturbations",
    "null": "null run",
    "threshold": "threshold",
    "passing": "held against the threshold: passes",
    "failing": "held against the threshold: fails",
    "mine": "new checkpoint for this domain",
    "other": "other new checkpoint",
    "span": "perturbation",
}


def render(record: Record) -> str:
    """Write a report.

    Args:
        record: What the run folder says.

    Returns:
        A whole document. It holds no script, and its content security policy allows neither
        scripts nor requests, nor any style but its own.
    """
    environment = page.environment()
    css = environment.loader.get_source(environment, "report.css")[0]  # type: ignore[union-attr]
    # Only this very style sheet may apply: style smuggled in as text would do nothing.
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return environment.get_template("report.html").render(
        css=Markup(css), style=f"sha256-{digest}", record=record, **_context(record)
    )


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
    controls = summary["controls"]
    return {
        **context,
        "failed": [control for control in controls[:CONTROLS] if not control["ok"]],
        "held": [control for control in controls[:CONTROLS] if control["ok"]],
        "controls_left": max(0, len(controls) - CONTROLS),
        "gold": gold_sections(summary),
        "ratings": ratings_sections(summary, record.planned or record.steps),
        "perturbations": perturbation_rows(summary),
        "retrains": retrain_rows(summary),
        "changed": changed_texts(summary),
        "worst": worst_texts(summary),
        "cost": summary["cost"],
    }
