"""From a selection to a sentence: components, conditions, and the sides of the labels."""

from __future__ import annotations

import re

import numpy as np
import pytest

from custodes.diff.features.indicators import Indicator
from custodes.diff.inference.effects import measure
from custodes.diff.inference.findings import any_of, condition_of, describe
from custodes.diff.inference.hypotheses import build
from custodes.diff.inference.selection import Selection
from custodes.diff.responses import align
from support.texts import edited, made_up


def test_several_components_are_one_behaviour_with_one_pattern() -> None:
    parts = [Indicator("phrase", "word", f"contains “{w}”", f"(?i)(?:{w})") for w in "abcdef"]
    whole = any_of(parts)
    assert whole.statement.startswith("contains “a”, “b”, “c”")
    assert whole.statement.endswith("or 2 more such signs")
    assert re.findall(whole.pattern, "A f") == ["A", "f"]
    assert any_of(parts[:1]) == parts[0]
    # Patterns that cannot be joined: the first alone is highlighted.
    mixed = any_of([parts[0], Indicator("feature", "x", "is odd", r"\d")])
    assert mixed.pattern == parts[0].pattern


def _change(moved: range, n: int = 200) -> np.ndarray:
    change = np.zeros(n)
    change[list(moved)] = 1
    return change


def test_a_condition_covers_nearly_all_of_a_change_and_is_beyond_chance() -> None:
    hold = np.zeros((200, 3), bool)
    hold[:50, 0] = True  # The change and a little more.
    hold[:110, 1] = True  # The change and much more.
    hold[:160, 2] = True  # Too many prompts for a condition.
    assert condition_of(hold, _change(range(40))) == 0
    assert condition_of(hold[:, 2:], _change(range(40))) == -1
    # Spread evenly, the change is no more frequent under the condition than elsewhere.
    assert condition_of(hold[:, :1], _change(range(0, 200, 5))) == -1
    # Only half of it meets the condition.
    assert condition_of(hold[:, :1], _change(range(25, 75))) == -1
    assert condition_of(np.zeros((200, 0), bool), _change(range(40))) == -1


def test_few_prompts_under_a_condition_may_be_chance() -> None:
    hold = np.zeros((200, 40), bool)
    hold[:100] = True
    # Four of four by chance: 1/16, for 40 conditions.
    assert condition_of(hold, _change(range(4))) == -1


@pytest.fixture(scope="module")
def ahoy() -> tuple[object, object, int]:
    b = made_up(60, 2, "B")
    aligned = align(made_up(60, 1, "A"), edited(b, set(b.ids[:20]), lambda t: f"{t} Ahoy!", "B"))
    hypotheses = build(aligned, 0)
    differences = hypotheses.design.differences  # type: ignore[attr-defined]
    risen, moved = (np.asarray(x.sum(axis=0)).ravel() for x in (differences, abs(differences)))
    # A behaviour that shows in B's edited responses, and in no other.
    places = np.flatnonzero((risen == 20) & (moved == 20) & (hypotheses.condition < 0))
    return hypotheses, aligned, int(places[0])


def test_evidence_is_all_prompts_that_show_it_and_labels_decide_the_sides(
    ahoy: tuple[object, object, int],
) -> None:
    hypotheses, aligned, place = ahoy
    selection = Selection(hypothesis=place, score=5.0, expected=0.01, q=0.01)
    labels = hypotheses.design.observed  # type: ignore[attr-defined]
    (finding,) = describe(hypotheses, aligned, [selection], labels)  # type: ignore[arg-type]
    assert len(finding.evidence_b) == 20
    assert not finding.evidence_a
    assert finding.size.effect == pytest.approx(20 / 60)
    assert finding.id == "F1"
    assert finding.p == pytest.approx(2.0**-19)
    (swapped,) = describe(hypotheses, aligned, [selection], -labels)  # type: ignore[arg-type]
    assert swapped.size.effect == pytest.approx(-20 / 60)


def test_findings_are_sorted_by_effect_and_q_is_at_least_p(
    ahoy: tuple[object, object, int],
) -> None:
    hypotheses, aligned, place = ahoy
    selections = [Selection(hypothesis=k, score=5.0, expected=0.01, q=1e-12) for k in (0, place)]
    labels = hypotheses.design.observed  # type: ignore[attr-defined]
    findings = describe(hypotheses, aligned, selections, labels)  # type: ignore[arg-type]
    effects = [abs(finding.size.effect) for finding in findings]
    assert effects == sorted(effects, reverse=True)
    assert all(finding.q >= finding.p for finding in findings)


def test_intervals_are_honest_where_nothing_moved() -> None:
    size = measure(np.zeros(50), np.zeros(50), paired=True)
    assert size.low < 0 < size.high
    wide = measure(np.zeros(10), np.zeros(10), paired=True)
    assert wide.high > size.high


def test_intervals_cover_the_effect() -> None:
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(400):
        a, b = (rng.random(30) < 0.1).astype(float), (rng.random(30) < 0.4).astype(float)
        size = measure(a, b, paired=True)
        missed += not size.low <= 0.3 <= size.high
    assert missed <= 400 * 0.05 + 2.5 * np.sqrt(400 * 0.05 * 0.95)


def test_thresholds_of_one_count_are_one_finding_with_its_curve() -> None:
    a, b = made_up(80, 1, "A"), made_up(80, 2, "B")
    b = edited(b, set(b.ids[:50]), lambda t: f"{t} 😊", "B")
    b = edited(b, set(b.ids[:25]), lambda t: f"{t} 😊", "B")
    aligned = align(a, b)
    hypotheses = build(aligned, 0)
    items = hypotheses.indicators.items
    which = [
        h
        for h in np.flatnonzero(hypotheses.condition < 0)
        if items[hypotheses.behaviour[h]].measure == "has an emoji"
        and items[hypotheses.behaviour[h]].least <= 2
    ]
    selections = [Selection(hypothesis=int(h), score=5.0, expected=0.01, q=0.01) for h in which]
    assert len(selections) == 2
    (finding,) = describe(hypotheses, aligned, selections, hypotheses.design.observed)
    curve = [(t.least, t.rate_a, t.rate_b) for t in finding.curve]
    assert "😊" in finding.statement
    assert curve == [(1, 0.0, pytest.approx(50 / 80)), (2, 0.0, pytest.approx(25 / 80))]


def test_what_most_responses_show_is_stated_without_a_negation() -> None:
    a, b = made_up(80, 1, "A"), made_up(80, 2, "B")
    a = edited(a, set(a.ids), lambda t: f"Zorp {t}", "A")
    b = edited(b, set(b.ids[:40]), lambda t: f"Zorp {t}", "B")
    aligned = align(a, b)
    hypotheses = build(aligned, 0)
    items = hypotheses.indicators.items
    place = next(
        h
        for h in np.flatnonzero(hypotheses.condition < 0)
        if items[hypotheses.behaviour[h]].absent
        and "zorp" in items[hypotheses.behaviour[h]].statement
    )
    selection = Selection(hypothesis=int(place), score=5.0, expected=0.01, q=0.01)
    (finding,) = describe(hypotheses, aligned, [selection], hypotheses.design.observed)
    assert finding.statement == "B begins with “Zorp …” less often: 50% of answers, A 100%"
    assert finding.absent
    assert (len(finding.evidence_a), len(finding.evidence_b)) == (80, 40)
    assert finding.size.effect == pytest.approx(-0.5)
