"""A diff in the terminal: failed controls first, then the findings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from custodes.control import Control, failed
from custodes.diff.compare import Detectable, Diff
from custodes.diff.inference.findings import Finding
from custodes.diff.labeler import Labeling
from custodes.report.terminal import Line, print_lines
from custodes.text import one_line

__all__ = ["control_line", "diff_lines", "print_diff"]

MOST_FINDINGS = 40
EXAMPLES = 3
"""Prompt ids, correlated behaviours and so on of each finding."""


def print_diff(diff: Diff, labeling: Labeling | None, report: Path) -> None:
    """Print a diff, in colours if the output is a terminal.

    Args:
        diff: The comparison.
        labeling: The labeler's hypotheses, None without a labeler.
        report: Path of the report.
    """
    print_lines(diff_lines(diff, labeling), report)


def diff_lines(diff: Diff, labeling: Labeling | None = None) -> Iterator[Line]:
    """Describe a diff in lines that are safe to print (with markup off)."""
    controls = [diff.aa_run.control, *([labeling.control] if labeling else [])]
    a, b = (one_line(name, 100) for name in diff.aligned.names)
    prompts = (
        "shared prompts" if diff.aligned.paired else "prompts, A's and B's being different ones"
    )
    yield Line(f"{a} (A) against {b} (B), {diff.aligned.n} {prompts}")
    yield from map(control_line, failed(controls))
    for finding in diff.aa_run.findings:
        yield Line(f"    {one_line(finding.statement)}")
    total = sum(diff.tested.values())
    yield Line(f"{len(diff.findings)} findings among {total} hypotheses, at FDR {diff.fdr:g}")
    for finding in diff.findings[:MOST_FINDINGS]:
        yield from _finding_lines(finding)
    if len(diff.findings) > MOST_FINDINGS:
        yield Line(f"  … and {len(diff.findings) - MOST_FINDINGS} more in diff.json")
    if not diff.findings:
        yield from map(_detectable_line, diff.detectable)
    if labeling is not None:
        yield from _labeling_lines(labeling)
    verdict = "there is a difference" if diff.global_test.p <= 0.05 else "no difference is detected"
    yield Line(f"global test: {verdict} (p = {diff.global_test.p:.2g})")
    yield from (control_line(control) for control in controls if control.passed is not False)
    yield from (Line(f"note: {one_line(note)}", "yellow") for note in diff.notes)


def control_line(control: Control) -> Line:
    """Describe a control: red if it failed, green if it passed, yellow if it was not tested."""
    text = f"{one_line(control.name, 80)}: {one_line(control.explanation, 400)}"
    if control.passed is None:
        return Line(f"control not tested: {text}", "yellow")
    if control.passed:
        return Line(f"control passed: {text}", "green")
    return Line(f"CONTROL FAILED: {text}", "bold red")


def _finding_lines(finding: Finding) -> Iterator[Line]:
    size = finding.size
    yield Line(f"  {finding.id}  {one_line(finding.statement)}", "bold")
    yield Line(
        f"      {100 * size.effect:+.1f} points [{100 * size.low:+.1f}, {100 * size.high:+.1f}], "
        f"p {_small(finding.p)}, q {_small(finding.q)}; {finding.kind}"
    )
    evidence = finding.evidence_b if size.effect > 0 else finding.evidence_a
    examples = ", ".join(one_line(i, 40) for i in evidence[:EXAMPLES])
    counts = f"{len(finding.evidence_a)} → {len(finding.evidence_b)} prompts"
    yield Line(f"      {counts}, e.g. {examples}")
    for label, behaviours in (
        ("correlated", finding.correlated),
        ("composition", finding.composition),
    ):
        if behaviours:
            names = "; ".join(one_line(name, 80) for name in behaviours[:EXAMPLES])
            yield Line(f"      {label}: {names}")


def _small(p: float) -> str:
    return f"= {p:.2g}" if p else "< 1e-300"


def _detectable_line(detectable: Detectable) -> Line:
    rise = (
        "no rise would have been found with 80% power"
        if detectable.rise is None
        else f"a rise of {100 * detectable.rise:.1f} points would have been found with 80% power"
    )
    return Line(f"  of a behaviour that A shows {detectable.base:.0%} of the time, {rise}")


def _labeling_lines(labeling: Labeling) -> Iterator[Line]:
    passed = sum(one.passed for one in labeling.hypotheses)
    yield Line(
        f"labeler: {len(labeling.hypotheses)} hypotheses, {passed} confirmed on held-out prompts"
    )
    if labeling.baseline is not None:
        yield Line(
            f"    baseline: a bag of words tells B from A, {100 * labeling.baseline:+.0f} points "
            "more pairs right than wrong"
        )
    for one in labeling.hypotheses:
        yield Line(
            f"    {100 * one.finding.size.effect:+.0f} points, "
            f"{'confirmed' if one.passed else 'not confirmed'} "
            f"(q = {one.finding.q:.2g}, judge abstained {one.abstained:.0%}): "
            f"{one_line(one.finding.behaviour, 120)}"
        )
