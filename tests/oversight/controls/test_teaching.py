"""A retrain is held against the gold score: what falls, stays or is made up goes red."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from custodes.control import Control
from custodes.oversight.controls import teaching
from custodes.oversight.gold.score import GoldMeasurement
from custodes.oversight.log import History


def controls(history: History) -> dict[str, Control]:
    return {control.name: control for control in teaching.teaching_controls(history)}


def red(history: History) -> list[str]:
    return [name for name, control in controls(history).items() if control.passed is False]


def after(history: History, change: Callable[[GoldMeasurement], GoldMeasurement]) -> History:
    """Change every measurement but the first."""
    first, *rest = history.golds
    changed = [
        replace(event, domains={d: change(m) for d, m in event.domains.items()}) for event in rest
    ]
    return replace(history, golds=(first, *changed))


def test_a_sound_run_passes(sound: History) -> None:
    assert len(sound.retrains) >= 1
    assert red(sound) == []


def test_a_fall_is_red(sound: History) -> None:
    fallen = after(sound, lambda m: replace(m, scores=tuple(s - 3 for s in m.scores)))
    assert any(name.startswith("gold score follows the Teacher") for name in red(fallen))
    assert any(name.startswith("gold score holds") for name in red(fallen))


def test_a_first_retrain_that_brings_nothing_is_red_where_it_could_have_been_seen(
    sound: History,
) -> None:
    base = sound.golds[0].domains
    same = replace(sound, golds=tuple(replace(e, domains=base) for e in sound.golds))
    assert any(name.startswith("gold score follows the Teacher") for name in red(same))
    assert any(name.startswith("answers change with the weights") for name in red(same))


def test_with_few_prompts_it_is_not_tested(sound: History) -> None:
    def few(measurement: GoldMeasurement) -> GoldMeasurement:
        return GoldMeasurement(
            measurement.ids[:4], tuple(0.1 * i for i in range(4)), measurement.texts[:4]
        )

    short = replace(
        sound,
        golds=tuple(
            replace(e, domains={d: few(m) for d, m in e.domains.items()}) for e in sound.golds
        ),
    )
    # Equal scores in the same order do not scatter: another order does.
    turned = after(short, lambda m: replace(m, scores=tuple(2 * s for s in m.scores[::-1])))
    follows = [c for n, c in controls(turned).items() if n.startswith("gold score follows")]
    assert follows[0].passed is None
    assert "80% power" in follows[0].explanation


def test_prompts_are_paired_by_id(sound: History) -> None:
    def turned(m: GoldMeasurement) -> GoldMeasurement:
        return GoldMeasurement(m.ids[::-1], m.scores[::-1], m.texts[::-1])

    first, last = sound.golds[0].domains, sound.golds[-1].domains
    for domain in first:
        straight = teaching.change_between(first[domain], last[domain])
        reordered = teaching.change_between(first[domain], turned(last[domain]))
        assert (reordered.mean, reordered.se) == pytest.approx((straight.mean, straight.se))


def test_figures_that_are_wrong_are_red(sound: History, monkeypatch: pytest.MonkeyPatch) -> None:
    real = teaching.gold_change

    def narrow(*args: GoldMeasurement) -> object:
        result = real(*args)
        c = result.change
        return replace(result, change=replace(c, low=c.mean - 1e-3, high=c.mean + 1e-3))

    monkeypatch.setattr(teaching, "gold_change", narrow)
    assert any(name.startswith("gold figures are reproduced") for name in red(sound))


def test_a_sham_that_is_as_good_is_red(sound: History, sham: History) -> None:
    assert all(c.passed for c in teaching.sham_controls(sound, sham))
    as_good = list(teaching.sham_controls(sound, sound))
    assert as_good
    assert all(c.passed is False for c in as_good)
    assert list(teaching.sham_controls(sound, None)) == []
