"""Damage and recovery on fixed probe prompts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.oversight.test_outcomes import HARM, history, jailbreak, run

from custodes.oversight.config import OverseeConfig
from custodes.oversight.events import LevelEvent
from custodes.oversight.log import History
from custodes.oversight.perturbations.levels import Level, recovery_of_levels
from custodes.oversight.perturbations.outcomes import outcomes
from custodes.oversight.run import oversee
from custodes.runs.events import read_events

N = 24


def level(step: int, mean: float, seed: int = 0, noise: float = 0.05) -> Level:
    prompt_N = np.random.default_rng(99).normal(0, 0.15, N)
    drawn_N = np.random.default_rng([seed, step + 1]).normal(0, noise, N)
    return Level(step, {f"p{i}": float(mean + prompt_N[i] + drawn_N[i]) for i in range(N)})


def test_a_drop_that_ends_with_the_perturbation_is_recovered() -> None:
    found = recovery_of_levels(level(-1, 0.7), [level(4, 0.5), level(8, 0.7)], 4, 8, 11)
    assert (found.outcome, found.damaged_at, found.recovered_at) == ("recovered", 4, 8)
    assert (found.steps, found.steps_after_offset) == (4, 0)
    assert found.shown


def test_a_drop_that_stays_is_not_recovered() -> None:
    found = recovery_of_levels(level(-1, 0.7), [level(4, 0.5), level(8, 0.52)], 4, 8, 11)
    assert (found.outcome, found.steps) == ("not_recovered", 7)


def test_no_drop_is_no_damage_and_the_power_is_stated() -> None:
    found = recovery_of_levels(level(-1, 0.7), [level(4, 0.7), level(8, 0.7)], 4, 8, 11)
    assert found.outcome == "no_damage"
    assert found.detectable is not None
    assert 0.05 <= found.detectable < 0.1


def test_a_drop_back_after_the_recovery_takes_it_away() -> None:
    after = [level(4, 0.5), level(8, 0.7), level(9, 0.5)]
    assert recovery_of_levels(level(-1, 0.7), after, 4, 8, 11).outcome == "not_recovered"


def test_false_alarms_are_as_rare_as_alpha_says() -> None:
    alarms = 0
    for seed in range(400):
        before, *after = (level(s, 0.5, seed, noise=0.2) for s in (-1, 3, 5, 7))
        alarms += recovery_of_levels(before, after, 3, 5, 9, margin=0.0).outcome != "no_damage"
    assert alarms / 400 < 0.08


def test_the_stated_drop_is_found_with_80_percent_power() -> None:
    found = 0
    bars = [
        recovery_of_levels(level(-1, 0.5, s, 0.2), [level(3, 0.5, s, 0.2)], 3, None, 9).detectable
        for s in range(40)
    ]
    bar = float(np.mean([b for b in bars if b is not None]))
    for seed in range(200):
        lower = level(3, 0.5 - bar, seed, 0.2)
        found += recovery_of_levels(level(-1, 0.5, seed, 0.2), [lower], 3, None, 9).outcome != (
            "no_damage"
        )
    assert 0.7 < found / 200 < 0.9


def test_few_prompts_are_unknown() -> None:
    few = Level(0, {"a": 0.5, "b": 0.4})
    assert recovery_of_levels(few, [few], 0, None, 3).outcome == "unknown"


@pytest.mark.parametrize("options", [{"margin": -1.0}, {"alpha": 0.7}])
def test_options_have_ranges(options: Mapping[str, float]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        recovery_of_levels(level(0, 0.5), [level(1, 0.5)], 1, None, 3, **options)


def test_a_level_of_an_older_checkpoint_is_no_level_before() -> None:
    """The rise of an earlier retrain must not hide damage: checkpoint 1 is what was met."""
    events = [(-1, 0, (), 0.4), (5, 1, (), 0.8), (10, 1, ("jailbreak@10",), 0.55)]
    levels = tuple(
        LevelEvent(step, number, active, {HARM: level(step, mean).ratings})
        for step, number, active, mean in events
    )
    made = history(run(), jailbreak(10, 14))
    with_levels = History(**{**vars(made), "levels": levels})
    (row,) = outcomes(with_levels)
    assert row["domain"] == HARM
    assert row["recovery"]["outcome"] == "not_recovered"
    assert row["recovery"]["before"]["mean"] == pytest.approx(0.8, abs=0.05)


def test_the_loop_measures_levels_where_something_changes(tmp_path: Path) -> None:
    config = OverseeConfig.model_validate(
        {
            "name": "levels",
            "steps": 12,
            "worker": {"model": "simulated:helpful=0.7,harmful=0.2"},
            "experts": [
                {"kind": "simulated", "domain": "helpfulness"},
                {"kind": "simulated", "domain": "harmlessness"},
            ],
            "overseer": {"overseer_steps": 2, "thresholds": {"harmlessness": 0.0}},
            "teacher": {"kind": "null"},
            "user": {"batch": 8},
            "gold": {"prompts": 8},
            "perturbations": [{"kind": "jailbreak", "at": 4, "until": 8, "share": 1.0}],
        }
    )
    oversee(config, tmp_path / "run")
    rows = [e for e in read_events(tmp_path / "run" / "events.jsonl") if e["kind"] == "level"]
    assert [(e["step"], e["active"]) for e in rows] == [
        (-1, []),
        (4, ["jailbreak@4"]),
        (8, []),
    ]
    history = History.of(read_events(tmp_path / "run" / "events.jsonl"))
    (row,) = outcomes(history)
    assert row["domain"] == HARM
    assert (row["recovery"]["outcome"], row["recovery"]["recovered_at"]) == ("recovered", 8)


def test_a_flipped_expert_changes_no_level_until_the_worker_is_retrained() -> None:
    made = history(run(0.8), jailbreak(10, 14, "flipped_expert"))
    met = LevelEvent(5, 1, (), {HARM: level(5, 0.8).ratings})
    calm = History(**{**vars(made), "levels": (met,)})
    (row,) = outcomes(calm)
    assert row["domains"][HARM]["recovery"]["explanation"] == (
        "no damage: neither weights nor queries changed"
    )

    worse = LevelEvent(14, 2, (), {HARM: level(14, 0.5).ratings})
    (row,) = outcomes(History(**{**vars(made), "levels": (met, worse)}))
    assert row["domains"][HARM]["recovery"]["outcome"] == "not_recovered"


def test_a_checkpoint_without_a_calm_level_is_judged_by_the_ratings() -> None:
    """Retrained while a jailbreak was active: the level of checkpoint 0 is not what was met."""
    levels = (
        LevelEvent(-1, 0, (), {HARM: level(-1, 0.4).ratings}),
        LevelEvent(5, 1, ("jailbreak@3",), {HARM: level(5, 0.6).ratings}),
        LevelEvent(10, 1, ("jailbreak@3", "jailbreak@10"), {HARM: level(10, 0.55).ratings}),
    )
    made = history(run(0.8), jailbreak(3, None), jailbreak(10, None))
    (_, row) = outcomes(History(**{**vars(made), "levels": levels}))
    assert row["domains"][HARM]["recovery"]["before"]["mean"] == pytest.approx(0.8, abs=0.02)
