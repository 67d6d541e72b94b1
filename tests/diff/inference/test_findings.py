"""From a selection to a sentence: components, conditions, and the sides of the labels."""

from __future__ import annotations

import re

import numpy as np
import pytest

from custodes.diff.features.indicators import Indicator
from custodes.diff.inference.effects import detectable, measure
from custodes.diff.inference.findings import any_of, condition_of, describe, statement
from custodes.diff.inference.hypotheses import build
from custodes.diff.inference.selection import Selection
from custodes.diff.responses import align
from support.texts import edited, made_up


def test_several_components_are_one_behaviour_with_one_pattern() -> None:
    parts = [Indicator("phrase", "word", f"contains “{w}”", f"(?i)(?:{w})") for w in "abcdef"]
    whole = any_of(parts)
    assert whole.statement.startswith("contains “a”, or contains “b”")
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


def test_the_statement_has_direction_condition_and_rates() -> None:
    size = measure(np.repeat([0.0, 1.0], [90, 10]), np.repeat([0.0, 1.0], [60, 40]), paired=True)
    assert statement("B", "hedges", None, size) == "B hedges more often (10.0% → 40.0%)"
    size = measure(np.ones(10), np.zeros(10), paired=True)
    expected = "B hedges less often, where the prompt is long (100.0% → 0.0%)"
    assert statement("B", "hedges", "is long", size) == expected


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


def test_more_prompts_and_weaker_thresholds_detect_smaller_rises() -> None:
    few, many = detectable(100, 4.0, 0.05), detectable(1000, 4.0, 0.05)
    easy = detectable(100, 2.0, 0.05)
    assert few is not None
    assert many is not None
    assert easy is not None
    assert many < few
    assert easy < few
    assert detectable(5, 4.0, 0.05) is None


def test_the_detectable_rise_has_the_stated_power() -> None:
    from scipy import stats

    n, score, base = 200, 4.0, 0.05
    rise = detectable(n, score, base)
    assert rise is not None
    rng = np.random.default_rng(0)
    a = rng.random((2000, n)) < base
    b = rng.random((2000, n)) < base + rise
    up, down = (b & ~a).sum(axis=1), (a & ~b).sum(axis=1)
    p = 2 * stats.binom.sf(np.maximum(up, down) - 1, up + down, 0.5)
    assert (p <= 10.0**-score).mean() == pytest.approx(0.8, abs=0.05)
