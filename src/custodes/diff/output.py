"""What a diff leaves behind: diff.json with a stable schema, and lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from custodes.diff.compare import Diff
from custodes.diff.examples import example_rows, map_rows
from custodes.diff.findings import Finding
from custodes.runs.files import write_json
from custodes.text import one_line

__all__ = ["SCHEMA", "diff_json", "lines", "save"]

SCHEMA = 1
# In the terminal: findings shown in full, and prompt ids shown of each.
MOST_SHOWN = 40
EXAMPLES = 3


def diff_json(diff: Diff) -> dict[str, Any]:
    """Return the content of ``diff.json``; docs/diff.md says what each field means."""
    aligned = diff.aligned
    return {
        "schema": SCHEMA,
        "a": {"name": aligned.names[0], "responses": int((aligned.side == 0).sum())},
        "b": {"name": aligned.names[1], "responses": int((aligned.side == 1).sum())},
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
        "notes": list(diff.notes),
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


def save(diff: Diff, folder: Path) -> Path:
    """Write ``diff.json`` and ``map.json`` into a folder, each whole or not at all.

    Raises:
        RunError: The folder cannot be written.
    """
    path = folder / "diff.json"
    write_json(folder / "map.json", map_rows(diff))
    write_json(path, diff_json(diff))
    return path


def lines(diff: Diff) -> Iterator[str]:
    """Say a diff in lines of plain text that are safe to print (with markup off)."""
    a, b = (one_line(name, 60) for name in diff.aligned.names)
    how = "shared prompts" if diff.aligned.paired else "prompts, A's and B's being different ones"
    yield f"{a} (A) against {b} (B), {diff.aligned.n} {how}"
    if diff.control.findings:
        yield (
            f"CONTROL FAILED: A/A run found {len(diff.control.findings)} differences where there "
            f"are none; expect false findings below"
        )
        yield from (f"    {one_line(f.statement)}" for f in diff.control.findings)
    else:
        yield f"control: A/A run found nothing, as expected (p = {diff.control.p:.2g})"
    verdict = "there is a difference" if diff.gate.p <= 0.05 else "no difference to be seen"
    yield f"global test: {verdict} (p = {diff.gate.p:.2g})"
    total = sum(diff.looked_at.values())
    yield f"{len(diff.findings)} findings among {total} behaviours looked at, at FDR {diff.fdr:g}"
    for finding in diff.findings[:MOST_SHOWN]:
        yield from _finding_lines(finding)
    if len(diff.findings) > MOST_SHOWN:
        yield f"  … and {len(diff.findings) - MOST_SHOWN} more in diff.json"
    if not diff.findings:
        yield from _detectable_lines(diff)
    yield from (f"note: {one_line(note)}" for note in diff.notes)


def _finding_lines(finding: Finding) -> Iterator[str]:
    size = finding.size
    yield f"  {finding.id}  {one_line(finding.statement)}"
    yield (
        f"      {100 * size.effect:+.1f} points [{100 * size.low:+.1f}, {100 * size.high:+.1f}], "
        f"p = {finding.p:.2g}, q = {finding.q:.2g}; {finding.kind}"
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
