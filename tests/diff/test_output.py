from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from custodes.diff.compare import Diff, compare
from custodes.diff.output import save
from custodes.report.diff import write_diff_report
from custodes.report.diff_terminal import diff_lines
from support.texts import edited, made_up

HOSTILE = "\x1b[31mred <script>alert(1)</script> [bold]x[/bold] {{ 7 * 7 }} \u202eabc"


@pytest.fixture(scope="module")
def diff() -> Diff:
    a, b = made_up(160, 1, "A<b>"), made_up(160, 2, "B\x1b[2J")
    planted = set(np.random.default_rng(0).choice(b.ids, 40, replace=False))
    return compare(a, edited(b, planted, lambda t: f"{t} {HOSTILE}", b.name))


def test_diff_json_has_the_documented_schema(diff: Diff, tmp_path: Path) -> None:
    content = json.loads(save(diff, tmp_path).read_text())
    assert set(content["global"]) >= {"statistic", "p"}
    assert content["control"]["found"] <= 4
    assert content["control"]["copies"] == 20
    assert content["outcome"] == diff.outcome
    assert [control["passed"] for control in content["controls"]] == [True]
    finding = content["findings"][0]
    assert set(finding) >= {
        "id", "kind", "statement", "condition", "rate_a", "rate_b", "effect", "ci95", "p", "q",
        "evidence_a", "evidence_b",
    }  # fmt: skip
    assert finding["effect"] == pytest.approx(finding["rate_b"] - finding["rate_a"])
    assert finding["ci95"][0] <= finding["effect"] <= finding["ci95"][1]
    assert set(finding) >= {"words", "level", "curve"}
    effects = [abs(f["effect"]) for f in content["findings"]]
    assert effects == sorted(effects, reverse=True)


def test_nothing_in_a_response_reaches_the_terminal_alive(diff: Diff) -> None:
    output = "\n".join(line.text for line in diff_lines(diff))
    assert diff.findings
    assert not any(c in output for c in "\x1b\u202e\x00\r")


def test_the_report_shows_responses_as_text(diff: Diff, tmp_path: Path) -> None:
    save(diff, tmp_path)
    page = write_diff_report(tmp_path).read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\\x1b[31m" in page
    assert "{{ 7 * 7 }}" in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "<mark>" in page
    assert len(page.encode()) < 2_000_000


def test_examples_mark_what_shows_the_behaviour(diff: Diff, tmp_path: Path) -> None:
    content = json.loads(save(diff, tmp_path).read_text())
    example = content["findings"][0]["examples"][0]
    assert example["prompt_id"] in content["findings"][0]["evidence_b"]
    assert example["spans_b"]
    assert not example["spans_a"]


def test_a_diff_without_findings_says_what_could_have_been_found(tmp_path: Path) -> None:
    diff = compare(made_up(60, 1, "A"), made_up(60, 2, "B"))
    assert any("with 80% power" in line.text for line in diff_lines(diff))
    save(diff, tmp_path)
    assert "with 80% power" in write_diff_report(tmp_path).read_text()


def test_the_outcome_comes_first_and_a_failed_control_right_after_it(
    diff: Diff, tmp_path: Path
) -> None:
    control = replace(diff.aa_run.control, passed=False, explanation="found in 9 of 20 copies")
    bad = replace(diff, aa_run=replace(diff.aa_run, control=control))
    first, second, *_ = diff_lines(bad)
    assert first.text.startswith(("One difference was found: ", f"{len(diff.findings)} differ"))
    assert second.text == "control failed: A/A run: found in 9 of 20 copies"
    assert second.style == "bold red"
    save(bad, tmp_path)
    page = write_diff_report(tmp_path).read_text()
    places = [page.index(x) for x in ("<h1>", 'class="says"', "A control failed.", "<nav")]
    assert places == sorted(places)


def test_at_most_three_correlated_behaviours_are_shown_and_the_others_folded(
    diff: Diff, tmp_path: Path
) -> None:
    many = replace(diff.findings[0], correlated=tuple(f"zorps {i} more often" for i in range(7)))
    long = replace(diff, findings=(many,))
    (line,) = (line.text for line in diff_lines(long) if "also:" in line.text)
    assert "zorps 2" in line
    assert "zorps 3" not in line
    assert "4 more in the report" in line
    save(long, tmp_path)
    page = write_diff_report(tmp_path).read_text()
    folded = page[page.index("<details><summary>", page.index("zorps 0")) :]
    assert "zorps 2" not in folded
    assert "zorps 3" in folded


def test_plural_forms_and_a_diff_of_one_prompt(tmp_path: Path) -> None:
    diff = compare(made_up(1, 1, "A"), made_up(1, 2, "B"))
    assert "2 answers to 1 prompt, 0 behaviours" in diff.outcome
    save(diff, tmp_path)
    page = write_diff_report(tmp_path).read_text()
    assert "1 prompts" not in page
    assert "nothing can be found" in page
