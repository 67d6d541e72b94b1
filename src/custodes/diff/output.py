"""What a diff leaves behind: diff.json with a stable schema, and lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from custodes.diff.compare import Diff
from custodes.diff.examples import example_rows, map_rows
from custodes.diff.inference.findings import Finding
from custodes.diff.labeler import Labelled
from custodes.runs.files import write_json
from custodes.text import one_line

__all__ = ["SCHEMA", "diff_json", "lines", "save"]

SCHEMA = 1
# In the terminal: findings shown in full, and prompt ids shown of each.
MOST_SHOWN = 40
EXAMPLES = 3


def diff_json(
    diff: Diff,
    labelled: Sequence[Labelled] | None = None,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the content of ``diff.json``; docs/diff.md says what each field means.

    Args:
        diff: What was found.
        labelled: The labeler's hypotheses, those that failed among them.
        about: ``sides``, settings of A and of B; ``labeler`` and ``judge``, their names.
    """
    aligned = diff.aligned
    about = about or {}
    own = about.get("sides", ({"model": None}, {"model": None}))
    return {
        "schema": SCHEMA,
        "a": {
            "name": aligned.names[0],
            "responses": int((aligned.side == 0).sum()),
            "settings": own[0],
        },
        "b": {
            "name": aligned.names[1],
            "responses": int((aligned.side == 1).sum()),
            "settings": own[1],
        },
        "prompts": aligned.n,
        "paired": aligned.paired,
        "fdr": diff.fdr,
        "seed": diff.seed,
        "global": {
            "statistic": diff.gate.statistic,
            "p": diff.gate.p,
            "parts": diff.gate.parts,
        },
        "control": {
            "findings": len(diff.control.findings),
            "p": diff.control.p,
            "statements": [f.statement for f in diff.control.findings],
        },
        "findings": [_finding(f) | {"examples": example_rows(diff, f)} for f in diff.findings],
        "detectable": [{"rate_a": d.base, "rise": d.rise} for d in diff.detectable],
        "looked_at": diff.looked_at,
        "labeler": None if labelled is None else _labeler(labelled, about),
        "notes": list(diff.notes),
    }


def _labeler(labelled: Sequence[Labelled], about: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": about.get("labeler"),
        "judge": about.get("judge"),
        "baseline": labelled[0].baseline if labelled else None,
        "hypotheses": [
            {
                "id": one.finding.id,
                "statement": one.finding.behaviour,
                "passed": one.passed,
                "rate_a": one.finding.size.rate_a,
                "rate_b": one.finding.size.rate_b,
                "effect": one.finding.size.effect,
                "ci95": [one.finding.size.low, one.finding.size.high],
                "p": one.finding.p,
                "q": one.finding.q,
                "abstained": one.abstained,
                "right": one.right,
            }
            for one in labelled
        ],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "kind": finding.kind,
        "statement": finding.statement,
        "behaviour": finding.behaviour,
        "condition": finding.condition,
        "rate_a": finding.size.rate_a,
        "rate_b": finding.size.rate_b,
        "effect": finding.size.effect,
        "ci95": [finding.size.low, finding.size.high],
        "p": finding.p,
        "q": finding.q,
        "evidence_a": list(finding.evidence_a),
        "evidence_b": list(finding.evidence_b),
        "aliases": list(finding.aliases),
        "composition": list(finding.composition),
    }


def save(
    diff: Diff,
    folder: Path,
    *,
    labelled: Sequence[Labelled] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``diff.json`` and ``map.json`` into a folder, each whole or not at all.

    See `diff_json` for ``labelled`` and ``about``.

    Raises:
        RunError: The folder cannot be written.
    """
    path = folder / "diff.json"
    write_json(folder / "map.json", map_rows(diff))
    write_json(path, diff_json(diff, labelled, about))
    return path


def lines(diff: Diff, labelled: Sequence[Labelled] | None = None) -> Iterator[str]:
    """Say a diff in lines of plain text that are safe to print (with markup off).

    Findings come first; before them comes only a control that failed.
    """
    a, b = (one_line(name, 100) for name in diff.aligned.names)
    how = "shared prompts" if diff.aligned.paired else "prompts, A's and B's being different ones"
    yield f"{a} (A) against {b} (B), {diff.aligned.n} {how}"
    if diff.control.findings:
        yield (
            f"CONTROL FAILED: the A/A run found {len(diff.control.findings)} differences where "
            "there are none; expect false findings below"
        )
        yield from (f"    {one_line(f.statement)}" for f in diff.control.findings)
    total = sum(diff.looked_at.values())
    yield f"{len(diff.findings)} findings among {total} behaviours looked at, at FDR {diff.fdr:g}"
    for finding in diff.findings[:MOST_SHOWN]:
        yield from _finding_lines(finding)
    if len(diff.findings) > MOST_SHOWN:
        yield f"  … and {len(diff.findings) - MOST_SHOWN} more in diff.json"
    if not diff.findings:
        yield from _detectable_lines(diff)
    if labelled is not None:
        yield from _labeler_lines(labelled)
    verdict = "there is a difference" if diff.gate.p <= 0.05 else "no difference to be seen"
    yield f"global test: {verdict} (p = {diff.gate.p:.2g})"
    if not diff.control.findings:
        yield f"control: the A/A run found nothing, as expected (p = {diff.control.p:.2g})"
    yield from (f"note: {one_line(note)}" for note in diff.notes)


def _labeler_lines(labelled: Sequence[Labelled]) -> Iterator[str]:
    passed = sum(one.passed for one in labelled)
    yield f"labeler: {len(labelled)} hypotheses, {passed} held on prompts it had not seen"
    if labelled:
        yield (
            f"    tells B from A in {100 * labelled[0].baseline:+.0f} points more pairs right than "
            "wrong: a bag of words, without any language model"
        )
    for one in labelled:
        size = one.finding.size
        yield (
            f"    {100 * size.effect:+.0f} points {'held' if one.passed else 'did not hold'} "
            f"(q = {one.finding.q:.2g}, judge abstained {one.abstained:.0%}): "
            f"{one_line(one.finding.behaviour, 120)}"
        )


def _small(p: float) -> str:
    return f"= {p:.2g}" if p else "< 1e-300"


def _finding_lines(finding: Finding) -> Iterator[str]:
    size = finding.size
    yield f"  {finding.id}  {one_line(finding.statement)}"
    yield (
        f"      {100 * size.effect:+.1f} points [{100 * size.low:+.1f}, {100 * size.high:+.1f}], "
        f"p {_small(finding.p)}, q {_small(finding.q)}; {finding.kind}"
    )
    evidence = finding.evidence_b if size.effect > 0 else finding.evidence_a
    shown = ", ".join(one_line(i, 40) for i in evidence[:EXAMPLES])
    yield f"      {len(finding.evidence_a)} → {len(finding.evidence_b)} prompts, e.g. {shown}"
    if finding.aliases:
        yield f"      also: {'; '.join(one_line(x, 80) for x in finding.aliases[:EXAMPLES])}"
    if finding.composition:
        moved = "; ".join(one_line(x, 80) for x in finding.composition[:EXAMPLES])
        yield f"      only follows from it: {moved}"


def _detectable_lines(diff: Diff) -> Iterator[str]:
    for one in diff.detectable:
        found = (
            "no rise would have been found"
            if one.rise is None
            else f"a rise of {100 * one.rise:.1f} points would have been found in 4 of 5 diffs"
        )
        yield f"  of a behaviour that A shows {one.base:.0%} of the time, {found}"
