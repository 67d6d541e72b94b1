"""The file of a drift: drift.json, with a stable schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from custodes.control import ordered
from custodes.diff.examples import best_example
from custodes.diff.inference.effects import Effect
from custodes.drift.findings import DriftFinding, drift_findings, drift_outcome
from custodes.drift.lineage import NOT_REQUESTED, Drift
from custodes.drift.monitor import Behaviour
from custodes.runs.files import write_json

__all__ = ["SCHEMA", "drift_json", "save"]

SCHEMA = 3
NOT_DETECTED = 30
"""Behaviours in the file beside those that drifted: the ones with most evidence."""

EXAMPLES = 3
CHARACTERS = 1200


def drift_json(drift: Drift, about: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the content of ``drift.json``; docs/reference/drift.md says what each field means.

    Args:
        drift: The result.
        about: ``name`` of the lineage, ``seed`` and sampling parameters.
    """
    aa_run = {b.statement: b for b in drift.aa_run.behaviours}
    findings = drift_findings(drift)
    rest = [b for b in drift.behaviours if b.detected_at is None][:NOT_DETECTED]
    settings = dict(about or {})
    sampling = ("max_tokens", "temperature", "top_p")
    return {
        "schema": SCHEMA,
        "outcome": drift_outcome(drift, findings),
        "name": settings.get("name", drift.names[-1]),
        "lineage": [dict(row) for row in drift.about]
        or [
            {"generation": i, "name": name, "parent": parent}
            for i, (name, parent) in enumerate(zip(drift.names, drift.parents, strict=True))
        ],
        "prompts": drift.prompts,
        "samples": drift.samples,
        "alpha": drift.fdr,
        "seed": settings.get("seed"),
        "sampling": {key: settings[key] for key in sampling if key in settings},
        "controls": [control.to_dict() for control in ordered(drift.controls)],
        "aa_run": {
            "detected": list(drift.aa_run.detected),
            "repeated": drift.aa_run.repeated,
        },
        "tested": len(drift.behaviours),
        "threshold_log_e": drift.threshold,
        "findings": [_finding(one) for one in findings],
        "drifted": [
            _behaviour(drift, b, aa_run.get(b.statement)) | {"examples": _examples(drift, b)}
            for b in drift.drifted
        ],
        "not_detected": [_behaviour(drift, b, aa_run.get(b.statement)) for b in rest],
        "detectable": [{"rate": d.rate, "rise": d.rise} for d in drift.detectable],
        "concepts": dict(drift.concepts or {"left_out": NOT_REQUESTED}),
        "questionnaire": dict(drift.questionnaire or {"left_out": NOT_REQUESTED}),
        "notes": list(drift.notes),
    }


def _finding(finding: DriftFinding) -> dict[str, Any]:
    return {
        "statement": finding.statement,
        "behaviour": finding.behaviour.statement,
        "words": list(finding.words),
        "curve": [
            {"least": t.least, "rate_before": t.rate_a, "rate": t.rate_b} for t in finding.curve
        ],
        "correlated": list(finding.correlated),
        "stands_for": list(finding.stands_for),
    }


def _behaviour(drift: Drift, b: Behaviour, in_aa_run: Behaviour | None) -> dict[str, Any]:
    return {
        "statement": b.statement,
        "detected_at": b.detected_at,
        "still_detected": b.still_detected,
        "trajectory": b.trajectory,
        "log_e": list(b.log_e),
        "against_first": _against_first(b),
        "against_parent": [
            {"generation": t, "parent": drift.parents[t], **_effect(size)}
            for t, size in enumerate(b.steps, start=1)
        ],
        "aa_run": None
        if in_aa_run is None
        else {"log_e": list(in_aa_run.log_e), "against_first": _against_first(in_aa_run)},
    }


def _against_first(b: Behaviour) -> list[dict[str, Any]]:
    return [
        {"generation": t, **_effect(size), "always95": list(always)}
        for t, (size, always) in enumerate(zip(b.sizes, b.always, strict=True), start=1)
    ]


def _effect(size: Effect) -> dict[str, Any]:
    return {
        "rate_before": size.rate_a,
        "rate": size.rate_b,
        "effect": size.effect,
        "ci95": [size.low, size.high],
    }


def _examples(drift: Drift, b: Behaviour) -> list[dict[str, Any]]:
    """Return responses of the generation at which the behaviour was furthest from the first."""
    t = int(np.argmax([abs(size.effect) for size in b.sizes]))
    if not drift.rounds:
        return []
    first, now = drift.rounds[t]
    rows = []
    for k in _changed(drift, b, t)[:EXAMPLES]:
        row: dict[str, Any] = {
            "generation": t + 1,
            "prompt_id": first.ids[k],
            "prompt": first.prompts[k][:CHARACTERS],
        }
        for side, responses in (("first", first), ("now", now)):
            spans, text = best_example(b.pattern, responses.texts[k], CHARACTERS)
            row[side] = text[:CHARACTERS]
            row[f"spans_{side}"] = spans
        rows.append(row)
    return rows


def _changed(drift: Drift, b: Behaviour, t: int) -> list[int]:
    """Return the prompts that moved with the drift, those that moved furthest first."""
    difference = drift.differences(b.statement, t) * np.sign(b.sizes[t].effect)
    order = np.argsort(-difference, kind="stable")
    return [int(k) for k in order if difference[k] > 0]


def save(drift: Drift, folder: Path, *, about: Mapping[str, Any] | None = None) -> Path:
    """Write ``drift.json`` into a folder, whole or not at all.

    See `drift_json` for ``about``.

    Raises:
        RunError: The folder cannot be written.
    """
    path = folder / "drift.json"
    write_json(path, drift_json(drift, about))
    return path
