"""What drifts in words: one finding for all thresholds of a count, and correlated ones folded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from custodes.diff.responses import Responses
from custodes.drift.findings import drift_findings, drift_outcome
from custodes.drift.lineage import Drift, follow
from custodes.drift.output import drift_json
from custodes.report.drift import render_drift
from custodes.report.drift_terminal import drift_lines

PROMPTS = 90
LINES = ("It is so.", "That depends.", "Try another one.", "The soup is hot.")


def texts(rate: float, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(PROMPTS):
        times = int(rng.integers(1, 4)) if rng.random() < rate else 0
        drawn.append(" ".join([str(rng.choice(LINES)), *["I think I am here."] * times]))
    return drawn


def lineage(*rates: float) -> Drift:
    def sample(generation: int, number: int, purpose: str) -> Responses:
        seed = 100 * generation + 10 * number + len(purpose)
        ids = tuple(f"p{i}" for i in range(PROMPTS))
        drawn = tuple((text,) for text in texts(rates[generation], seed))
        return Responses(f"g{generation}", ids, ids, drawn)

    names = [f"g{t}" for t in range(len(rates))]
    return follow(sample, names, [None, *range(len(rates) - 1)])


def test_thresholds_and_correlated_behaviours_are_one_finding() -> None:
    drift = lineage(0.1, 0.5, 0.8)
    says_i = [b.statement for b in drift.drifted if b.statement.startswith("says I")]
    assert {"says I", "says I at least twice"} <= set(says_i)
    findings = drift_findings(drift)
    (one,) = (f for f in findings if "says I" in f.stands_for)
    assert set(says_i) <= set(one.stands_for)
    # "I think I am here." also repeats a sentence, and hedges.
    assert one.correlated
    assert len(findings) < len({b.indicator.name for b in drift.drifted})
    told = [name for f in findings for name in f.stands_for]
    assert sorted(told) == sorted(b.statement for b in drift.drifted)


def test_a_count_has_its_curve_and_words() -> None:
    drift = lineage(0.1, 0.5, 0.8)
    (one,) = (f for f in drift_findings(drift) if "says I" in f.stands_for)
    assert one.statement.startswith(("says I (“I”)", "hedges (“I think”)"))
    assert [t.least for t in one.curve][:2] == [1, 2]
    assert one.curve[0].rate_b > one.curve[-1].rate_b
    assert " more often: " in one.statement
    assert "does not" not in one.statement


def test_the_outcome_comes_first_and_failed_controls_second() -> None:
    drift = lineage(0.1, 0.5, 0.8)
    control = replace(drift.aa_run.control, passed=False, explanation="expect false ones")
    drift = replace(drift, aa_run=replace(drift.aa_run, control=control))
    first, second, *_ = drift_lines(drift)
    assert "drifted over 2 generations" in first.text
    assert second.text == "control failed: A/A run: expect false ones"
    page = render_drift(drift_json(drift, {"name": "x"}))
    places = [page.index(x) for x in ("<h1>", 'class="says"', "A control failed", "<nav")]
    assert places == sorted(places)


def test_no_drift_says_what_would_have_been_detected() -> None:
    drift = lineage(0.3, 0.3)
    assert not drift.drifted
    text = drift_outcome(drift, ())
    assert text.startswith("No drift was detected. A behaviour that the first generation shows in")
    assert "1 generation with the first (g0)" in text
    page = render_drift(drift_json(drift, {"name": "x"}))
    assert "No drift is detected." in page


def test_the_chart_names_its_lines() -> None:
    page = render_drift(drift_json(lineage(0.1, 0.5, 0.8), {"name": "x"}))
    chart = page[page.index('id="e-values"') : page.index("</figure>", page.index('id="e-values"'))]
    # In the wide chart and in the narrow one: on the axis, and at the end of the line.
    assert chart.count(">1</text>") == 4
    assert "e-value, power of ten" in chart
    assert '<ol class="lines">' in chart
    assert 'role="graphics' not in page
