"""A diff in the terminal: the outcome, controls that failed, then the findings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from custodes.control import Control, failed
from custodes.diff.compare import DRAWS, Diff
from custodes.diff.examples import example_rows
from custodes.diff.inference.findings import Finding
from custodes.diff.inference.power import Detectable
from custodes.diff.labeler import Labeling
from custodes.diff.outcome import identical
from custodes.report.terminal import Line, print_lines
from custodes.report.wording import count, percent, plural, points, points_between, small, times
from custodes.text import one_line

__all__ = ["control_line", "diff_lines", "print_diff"]

MOST_FINDINGS = 20
CORRELATED = 3
"""Correlated behaviours shown of each finding; the report has more."""

WITH_EXAMPLES = 5
"""Findings with an example."""

LEGEND = (
    "the largest difference comes first; q: share of false findings to expect among this one and "
    "those at least as surprising; more examples are in the report"
)

LEAST_P = 1 / (1 + DRAWS)

EXAMPLE = 110
BEFORE = 25
"""Characters of a response in an example, and of what precedes the evidence in it."""


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
    yield Line(one_line(diff.outcome, 600), "bold")
    yield from map(control_line, failed(controls))
    if diff.aa_run.control.passed is False:
        for finding in diff.aa_run.findings[:CORRELATED]:
            yield Line(f"    false alarm in a copy: {one_line(finding.statement)}")
    if not diff.aligned.paired:
        yield Line("A and B answered different prompts")
    for finding in diff.findings[:MOST_FINDINGS]:
        yield from _finding_lines(diff, finding)
    if len(diff.findings) > MOST_FINDINGS:
        yield Line(
            f"  … and {plural(len(diff.findings) - MOST_FINDINGS, 'more finding')} in diff.json"
        )
    if not identical(diff):
        yield from map(_detectable_line, diff.detectable)
    if labeling is not None:
        yield from _labeling_lines(labeling)
    if diff.findings:
        yield Line(LEGEND)
    verdict = "the answers differ" if diff.global_test.p <= 0.05 else "no difference is detected"
    least = ", the least it can give" if diff.global_test.p <= LEAST_P else ""
    p = f"p = {small(diff.global_test.p)}{least}"
    yield Line(f"global test of all answers together: {verdict} ({p})")
    yield from (control_line(control) for control in controls if control.passed is not False)
    yield from (Line(f"note: {one_line(note)}", "yellow") for note in diff.notes)


def control_line(control: Control) -> Line:
    """Describe a control: red if it failed, green if it passed, yellow if it was not tested."""
    text = f"{one_line(control.name, 80)}: {one_line(control.explanation, 400)}"
    if control.passed is None:
        return Line(f"control not tested: {text}", "yellow")
    if control.passed:
        return Line(f"control passed: {text}", "green")
    return Line(f"control failed: {text}", "bold red")


def _finding_lines(diff: Diff, finding: Finding) -> Iterator[Line]:
    size = finding.size
    yield Line(f"  {finding.id}  {one_line(finding.statement, 300)}", "bold")
    evidence = f"{count(len(finding.evidence_a))} of A, {count(len(finding.evidence_b))} of B"
    counted = ""
    if finding.level is not None:
        counted = (
            f"{one_line(finding.behaviour, 120)}: {percent(size.rate_b)} of B's answers, "
            f"{percent(size.rate_a)} of A's; "
        )
    yield Line(
        f"      {counted}{points(size.effect)} points, "
        f"95% {points_between((size.low, size.high))}, q = {small(finding.q)}; "
        f"prompts that show it: {evidence}"
    )
    if len(finding.curve) > 1:
        steps = (
            f"{times(t.least)} {percent(t.rate_b)} (A {percent(t.rate_a)})" for t in finding.curve
        )
        yield Line(f"      {'; '.join(steps)}")
    if finding.correlated:
        names = "; ".join(one_line(name, 80) for name in finding.correlated[:CORRELATED])
        more = len(finding.correlated) - CORRELATED + len(finding.composition)
        shown = f"; {more} more in the report" if more > 0 else ""
        yield Line(f"      the same answers of B also: {names}{shown}")
    if diff.findings.index(finding) < WITH_EXAMPLES:
        for row in example_rows(diff, finding)[:1]:
            yield Line(f"      e.g. {one_line(row['prompt'] or row['prompt_id'], EXAMPLE)}")
            for letter in "ab":
                text = _excerpt(row[letter], row[f"spans_{letter}"])
                yield Line(f"        {letter.upper()}: {text}")


def _excerpt(text: str | None, spans: list[list[int]]) -> str:
    """Return the part of a response around the first evidence in it."""
    if not text:
        return "(no answer)" if text is None else "(empty)"
    start = max(0, spans[0][0] - BEFORE) if spans and spans[0][1] > EXAMPLE else 0
    return ("…" if start else "") + one_line(text[start:], EXAMPLE)


def _detectable_line(detectable: Detectable) -> Line:
    rise = (
        "nothing could have been found"
        if detectable.rise is None
        else f"a rise to {percent(detectable.base + detectable.rise)} would have been found"
    )
    use = f"A uses in {detectable.base:.0%} of its answers" if detectable.base else "A never uses"
    return Line(f"  of a word that {use}, {rise} with 80% power")


def _labeling_lines(labeling: Labeling) -> Iterator[Line]:
    passed = sum(one.passed for one in labeling.hypotheses)
    yield Line(
        f"labeler: {plural(len(labeling.hypotheses), 'proposal')}, {passed} confirmed on held-out "
        "prompts"
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
