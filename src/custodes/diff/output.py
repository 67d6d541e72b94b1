"""The files of a diff: diff.json, with a stable schema, and map.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from custodes.control import ordered
from custodes.diff.compare import Diff
from custodes.diff.examples import example_rows, map_rows
from custodes.diff.inference.effects import Effect
from custodes.diff.inference.findings import Finding
from custodes.diff.inference.wording import Level
from custodes.diff.labeler import Hypothesis, Labeling
from custodes.runs.files import write_json

__all__ = ["SCHEMA", "diff_json", "save"]

SCHEMA = 3


def diff_json(
    diff: Diff,
    labeling: Labeling | None = None,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the content of ``diff.json``; docs/reference/diff.md says what each field means.

    Args:
        diff: The comparison.
        labeling: The labeler's hypotheses, None without a labeler.
        about: ``sides``, settings of A and of B; ``labeler`` and ``judge``, their names.
    """
    about = about or {}
    settings = about.get("sides", ({"model": None}, {"model": None}))
    controls = [diff.aa_run.control, *([labeling.control] if labeling else [])]
    return {
        "schema": SCHEMA,
        "outcome": diff.outcome,
        "a": _side(diff, 0, settings[0]),
        "b": _side(diff, 1, settings[1]),
        "prompts": diff.aligned.n,
        "paired": diff.aligned.paired,
        "fdr": diff.fdr,
        "seed": diff.seed,
        "controls": [control.to_dict() for control in ordered(controls)],
        "global": {
            "statistic": diff.global_test.statistic,
            "p": diff.global_test.p,
            "components": diff.global_test.components,
        },
        "control": {
            "copies": diff.aa_run.copies,
            "found": diff.aa_run.found,
            "findings": len(diff.aa_run.findings),
            "statements": [finding.statement for finding in diff.aa_run.findings],
        },
        "findings": [_finding(f) | {"examples": example_rows(diff, f)} for f in diff.findings],
        "detectable": [{"rate_a": d.base, "rise": d.rise} for d in diff.detectable],
        "tested": diff.tested,
        "labeler": None if labeling is None else _labeler(labeling, about),
        "notes": list(diff.notes),
    }


def _side(diff: Diff, side: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": diff.aligned.names[side],
        "responses": int((diff.aligned.side == side).sum()),
        "settings": settings,
    }


def _labeler(labeling: Labeling, about: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": about.get("labeler"),
        "judge": about.get("judge"),
        "baseline": labeling.baseline,
        "hypotheses": [_hypothesis(one) for one in labeling.hypotheses],
    }


def _hypothesis(hypothesis: Hypothesis) -> dict[str, Any]:
    finding = hypothesis.finding
    return {
        "id": finding.id,
        "statement": finding.behaviour,
        "passed": hypothesis.passed,
        **_effect(finding.size),
        "p": finding.p,
        "q": finding.q,
        "abstained": hypothesis.abstained,
        "separation": hypothesis.separation,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "kind": finding.kind,
        "statement": finding.statement,
        "behaviour": finding.behaviour,
        "condition": finding.condition,
        **_effect(finding.size),
        "words": list(finding.words),
        "level": None if finding.level is None else _level(finding.level),
        "curve": [
            {"least": t.least, "rate_a": t.rate_a, "rate_b": t.rate_b} for t in finding.curve
        ],
        "p": finding.p,
        "q": finding.q,
        "evidence_a": list(finding.evidence_a),
        "evidence_b": list(finding.evidence_b),
        "correlated": list(finding.correlated),
        "composition": list(finding.composition),
    }


def _level(level: Level) -> dict[str, Any]:
    return {"a": level.a, "b": level.b, "kind": "mean" if level.mean else "median"}


def _effect(size: Effect) -> dict[str, Any]:
    return {
        "rate_a": size.rate_a,
        "rate_b": size.rate_b,
        "effect": size.effect,
        "ci95": [size.low, size.high],
    }


def save(
    diff: Diff,
    folder: Path,
    *,
    labeling: Labeling | None = None,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``diff.json`` and ``map.json`` into a folder, each whole or not at all.

    See `diff_json` for ``labeling`` and ``about``.

    Raises:
        RunError: The folder cannot be written.
    """
    path = folder / "diff.json"
    write_json(folder / "map.json", map_rows(diff))
    write_json(path, diff_json(diff, labeling, about))
    return path
