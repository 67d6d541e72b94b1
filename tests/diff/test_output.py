from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from custodes.diff.compare import Diff, compare
from custodes.diff.output import lines, save
from custodes.report.diff import write_diff_report
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
    assert content["control"]["findings"] == 0
    finding = content["findings"][0]
    assert set(finding) >= {
        "id", "kind", "statement", "condition", "rate_a", "rate_b", "effect", "ci95", "p", "q",
        "evidence_a", "evidence_b",
    }  # fmt: skip
    assert finding["effect"] == pytest.approx(finding["rate_b"] - finding["rate_a"])
    assert finding["ci95"][0] <= finding["effect"] <= finding["ci95"][1]
    effects = [abs(f["effect"]) for f in content["findings"]]
    assert effects == sorted(effects, reverse=True)


def test_nothing_in_a_response_reaches_the_terminal_alive(diff: Diff) -> None:
    said = "\n".join(lines(diff))
    assert diff.findings
    assert not any(c in said for c in "\x1b\u202e\x00\r")


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
    assert any("would have been found in 4 of 5" in line for line in lines(diff))
    save(diff, tmp_path)
    assert "could have been found" in write_diff_report(tmp_path).read_text()
