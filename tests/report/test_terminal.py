"""The summary in the terminal."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from custodes.report.terminal import print_summary
from support.run_folders import Story, summary_of, tell


def printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    print_summary(summary_of(folder), folder / "report.html")
    return capsys.readouterr().out


def test_the_outcome_comes_first_and_then_failed_controls(
    failed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(failed, capsys)
    outcome, *rest = re.split(r"^(?=failed: )", out, flags=re.M)
    assert " ".join(outcome.split()) == summary_of(failed)["verdict"]["outcome"]
    lines = "".join(rest).splitlines()
    assert re.fullmatch(r"failed: 3 of \d+ controls FAILED", lines[0])
    assert lines[1].startswith("  weights moved: checkpoint 1")
    untested = lines.index("2 controls not tested:")
    assert untested > 3
    assert lines[untested + 1].startswith("  null run asks the same: there was no")


def test_everything_is_there_and_fits(
    ordinary: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As wide as a small terminal; what is piped is not wrapped.
    monkeypatch.setattr("custodes.screen.PIPED", 80)
    out = printed(ordinary, capsys)
    assert re.search(r"^ordinary: all \d+ tested controls passed\n", out, re.M)
    assert re.search(r"harmless look-alikes refused +\d +\d+% +\+\d", out)
    for row in summary_of(ordinary)["gold"]:
        low, high = (f"{bound:.2f}" for bound in row["ci95"])
        assert f"{row['score']:+.2f} [{low}, {high}]".replace("-", "−") in out
    for part in ("teacher:harmlessness", "flipped_expert@4", "128 responses", "report.html"):
        assert part in out
    table = out.partition("report:")[0]
    assert max(len(line) for line in table.splitlines()) <= 80
    assert "\x1b" not in out


def test_a_run_without_end_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(tell(tmp_path / "half", Story(steps=3, ended=False)), capsys)
    assert out.startswith("half is not finished")


def test_names_are_text_and_nothing_else(hostile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(hostile, capsys)
    assert "\x1b" not in out
    # Were rich's markup read, the tag would be gone.
    assert "[bold" in out


def test_a_long_run_is_short(long: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(long, capsys)
    assert len(out.splitlines()) < 80
    assert "(8 of 40 rows; the report has more)" in out


def test_a_poor_terminal_gets_what_it_can_write(
    ordinary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", file)
    print_summary(summary_of(ordinary), Path("ré/report.html"))
    file.flush()
    assert b"report: r\\xe9/report.html" in file.buffer.getvalue()  # type: ignore[attr-defined]
