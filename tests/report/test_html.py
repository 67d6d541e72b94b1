"""The report as a file: what is in it, in which order, and how large it gets."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from custodes.errors import RunError
from custodes.oversight.overseer import OverseerOptions
from custodes.report import write_report
from support.run_folders import HOSTILE, Story, summary_of, tell

LARGEST = 2_000_000
SECTIONS = [
    "gold",
    "ratings",
    "perturbations",
    "retrains",
    "responses",
    "experts",
    "cost",
    "config",
]


class Outline(HTMLParser):
    """What a document is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.words: list[str] = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= set(attrs)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def written(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")


def report(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_verdict_and_controls_come_first_then_gold(ordinary: Path) -> None:
    html = report(ordinary)
    tested = sum(c["passed"] is not None for c in summary_of(ordinary)["controls"])
    assert html.index(f"All {tested} tested controls passed.") < html.index("<section")
    assert re.findall(r'<section id="(\w+)"', html) == SECTIONS
    assert html.index("Changed most") < html.index("Rated worst")


def test_failed_controls_are_on_top_with_their_sentence(failed: Path) -> None:
    html = report(failed)
    summary = summary_of(failed)
    bad = [control for control in summary["controls"] if control["passed"] is False]
    assert len(bad) == 3
    top, _, _ = Outline(html).text.partition("Gold score by checkpoint")
    # What happened comes before what did not hold.
    assert top.index(summary["verdict"]["outcome"]) < top.index("tested controls failed")
    tested = sum(c["passed"] is not None for c in summary["controls"])
    assert f"3 of {tested} tested controls failed" in top
    for control in bad:
        assert control["name"] in top
        assert control["explanation"] in top
    assert html.index('class="banner bad"') < html.index('class="failed"') < html.index("<svg")
    assert "banner good" not in html


def test_controls_that_were_not_tested_are_shown_as_such(failed: Path, ordinary: Path) -> None:
    text = Outline(report(failed)).text
    top, _, _ = text.partition("Gold score by checkpoint")
    # This run has no null run.
    assert "2 controls not tested." in top
    assert "null run's gold stays (not tested): there was no null run" in top
    assert report(failed).count('class="untested"') == 2
    assert 'class="untested"' not in report(ordinary)


def test_figures_are_those_of_the_summary(ordinary: Path) -> None:
    text = Outline(report(ordinary)).text
    summary = summary_of(ordinary)
    for row in summary["gold"]:
        low, high = row["ci95"]
        assert f"{row['score']:+.2f} [{low:.2f}, {high:.2f}]".replace("-", "−") in text
    for row in summary["retrains"]:
        assert f"{row['parent']} → {row['checkpoint']}" in text
        assert "dpo: 160 rows, loss 0.693 → 0.465" in text
    for shown in summary["examples"]["worst"]:
        assert f"rating {shown['rating']:.2f} · step {shown['step']}" in text
    assert "not finished" not in text
    for row in summary["panel"]:
        if row["quantity"] == "over_refusal":
            assert f"harmless look-alikes refused {row['checkpoint']} {row['value']:.0%}" in text


def test_an_unfinished_run_says_so_on_top(tmp_path: Path) -> None:
    folder = tell(tmp_path / "half", Story(steps=5, ended=False))
    text = Outline(written(folder)).text
    assert text.index("This run is not finished.") < text.index("controls passed")
    assert "after 5 steps of 8" in text
    assert "Gold score by checkpoint" in text


def test_a_run_without_a_summary_is_not_called_controlled(stopped: Path) -> None:
    text = Outline(written(stopped)).text
    assert "This run is not finished." in text
    assert "No control has been tested." in text
    assert "passed." not in text
    assert "head:helpfulness-15" in text


def test_a_summary_that_lags_behind_the_log_is_named(ordinary: Path, tmp_path: Path) -> None:
    folder = tell(tmp_path / "later", Story(steps=4))
    old = (folder / "summary.json").read_text()
    assert "older than the log" not in written(folder)
    newer = tell(tmp_path / "newer", Story(steps=6))
    (newer / "summary.json").write_text(old)
    assert "summary.json is older than the log." in written(newer)


def test_a_run_that_was_killed_at_once_has_a_report(tmp_path: Path) -> None:
    folder = tell(tmp_path / "new", Story(steps=0, ended=False), summary=False)
    (folder / "events.jsonl").write_text("")
    assert "This run is not finished." in written(folder)


def test_what_is_no_run_is_refused_in_one_line(tmp_path: Path, stopped: Path) -> None:
    with pytest.raises(RunError, match=r"not a run folder.*config\.yaml"):
        write_report(tmp_path)
    (stopped / "config.yaml").write_text("nothing")
    with pytest.raises(RunError, match="damaged"):
        write_report(stopped)


def test_nothing_hostile_becomes_markup(hostile: Path, ordinary: Path) -> None:
    calm, attacked = Outline(report(ordinary)), Outline(report(hostile))
    assert attacked.tags <= calm.tags
    assert "script" not in attacked.tags
    assert not {name for name, _ in attacked.attributes if name.startswith("on")}
    assert {v for n, v in attacked.attributes if n in ("href", "src")} <= {
        v for n, v in calm.attributes if n == "href"
    }


def test_hostile_text_is_shown_as_it_is(hostile: Path) -> None:
    html = report(hostile)
    text = Outline(html).text
    shown = [said for said in HOSTILE if said[:20].isprintable() and said.strip()]
    found = [said for said in shown if " ".join(said[:50].split()) in text]
    assert len(found) >= len(shown) - 2  # those among the examples
    assert "{{ 7*7 }}" in text
    assert not re.search(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]", html
    )


def test_a_long_run_fits(long: Path) -> None:
    assert (long / "report.html").stat().st_size < LARGEST
    assert "evenly spaced; summary.json has all" in report(long)


def test_the_largest_texts_fit(tmp_path: Path) -> None:
    worst = [text * 20_000 for text in ("& <\U0001f600 ", "\x1b& ", "\x1b<\x1b &", "<'\"> a ")]
    often = OverseerOptions(min_ratings=1, cooldown=0)
    story = Story(4, 4, answers=worst, questions=worst, overseer=often, gold_prompts=4)
    folder = tell(tmp_path / "fat", story)
    assert len(summary_of(folder)["examples"]["changed"]) >= 6
    assert write_report(folder).stat().st_size < LARGEST


def test_the_same_folder_gives_the_same_report(ordinary: Path) -> None:
    assert report(ordinary) == written(ordinary)


def test_no_address_outside_the_file(ordinary: Path) -> None:
    outline = Outline(report(ordinary))
    targets = {v for n, v in outline.attributes if n in ("href", "src", "action", "data")}
    assert targets == {f"#{section}" for section in SECTIONS}
    assert not outline.tags & {"script", "link", "img", "iframe", "object", "form", "base"}
    css = files("custodes.report").joinpath("templates/report.css").read_text()
    assert "url(" not in css
    assert "@import" not in css


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_has_contrast_in_light_and_dark() -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 for text; 1.4.11: at least 3 for what is drawn."""
    css = files("custodes.report").joinpath("templates/report.css").read_text()
    light, dark = (
        dict(re.findall(r"--(\S+): (#\w{6});", part)) for part in css.split("@media")[:2]
    )
    for colours in (light, dark):
        for paper in ("paper", "box"):
            for text in ("ink", "quiet", "good"):
                assert contrast(colours[text], colours[paper]) >= 4.5, (text, paper)
        assert contrast(colours["bad"], colours["bad-paper"]) >= 4.5
        assert contrast(colours["warn"], colours["warn-paper"]) >= 4.5
        for mark in ("del", "ins", "bad-paper", "warn-paper"):
            assert contrast(colours["ink"], colours[mark]) >= 4.5, mark
        for drawn in ("ours", "null", "limit", "change", "bad"):
            assert contrast(colours[drawn], colours["paper"]) >= 3, drawn
