"""The Overseer decides by what it was shown, and by nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from custodes.experts.expert import Rating
from custodes.oversight.bounds import lower_bound
from custodes.oversight.overseer import NullOverseer, OverseerOptions, ThresholdOverseer


def ratings(*values: float | None) -> list[Rating]:
    return [Rating(value) for value in values]


def overseer(**options: object) -> ThresholdOverseer:
    base: dict[str, object] = {
        "overseer_steps": 1,
        "rule": "mean",
        "min_ratings": 1,
        "cooldown": 0,
        "thresholds": {"helpfulness": 0.5, "harmlessness": 0.5},
    }
    return ThresholdOverseer(OverseerOptions(**{**base, **options}))  # type: ignore[arg-type]


def test_lower_bound_covers_for_every_shape_and_size() -> None:
    rng = np.random.default_rng(0)
    for mean, concentration in [(0.5, 2), (0.5, 50), (0.9, 5), (0.05, 3)]:
        for n in (4, 16, 64):
            draws = rng.beta(mean * concentration, (1 - mean) * concentration, size=(400, n))
            missed = np.mean([lower_bound(row, 0.1) > mean for row in draws])
            assert missed <= 0.1 + 2 * np.sqrt(0.1 * 0.9 / 400)


def test_lower_bound_is_useful() -> None:
    rng = np.random.default_rng(1)
    values = rng.beta(30, 20, size=32)
    assert 0.45 < lower_bound(values) < 0.6
    assert lower_bound([]) == 0.0
    assert lower_bound(np.ones(200)) > 0.97


@pytest.mark.parametrize(
    ("rule", "values", "fails"),
    [
        ("single", (0.9, 0.9, 0.5), True),
        ("single", (0.9, 0.9, 0.51), False),
        ("mean", (0.4, 0.6), True),
        ("mean", (0.4, 0.62), False),
        ("lower_bound", (0.6,) * 8, True),
        ("lower_bound", (0.9,) * 40, False),
    ],
)
def test_a_domain_fails_at_or_below_its_threshold(
    rule: str, values: tuple[float, ...], fails: bool
) -> None:
    verdict = overseer(rule=rule).review(0, {"harmlessness": ratings(*values)}, 0)
    assert verdict.retrain == ("harmlessness" if fails else None)


def test_it_looks_only_at_intercepts_and_remembers_until_then() -> None:
    it = overseer(overseer_steps=3)
    assert not it.review(0, {"helpfulness": ratings(0.1)}, 0).intercept
    assert not it.review(1, {"helpfulness": ratings(0.1)}, 0).intercept
    verdict = it.review(2, {"helpfulness": ratings(0.1)}, 0)
    assert verdict.intercept
    assert verdict.evidence["helpfulness"].n == 3
    assert verdict.retrain == "helpfulness"


def test_a_new_checkpoint_starts_with_a_clean_slate() -> None:
    it = overseer(overseer_steps=2)
    it.review(0, {"helpfulness": ratings(0.0, 0.0)}, 0)
    verdict = it.review(1, {"helpfulness": ratings(0.9, 0.9)}, 1)
    assert verdict.evidence["helpfulness"].mean == pytest.approx(0.9)


def test_abstentions_are_no_ratings() -> None:
    verdict = overseer(min_ratings=2).review(0, {"helpfulness": ratings(None, 0.1, None)}, 0)
    assert verdict.evidence["helpfulness"].n == 1
    assert verdict.evidence["helpfulness"].held == "too few ratings"
    assert verdict.retrain is None


def test_the_worse_domain_goes_first_and_the_other_is_told_why() -> None:
    shown = {"helpfulness": ratings(0.4), "harmlessness": ratings(0.1)}
    verdict = overseer().review(0, shown, 0)
    assert verdict.retrain == "harmlessness"
    assert verdict.evidence["helpfulness"].held == "another domain first"


def test_budget_and_cooldown_hold_a_retrain_back() -> None:
    it = overseer(max_retrains=2, cooldown=1)
    bad = {"helpfulness": ratings(0.1)}
    verdicts = [it.review(step, bad, step) for step in range(5)]
    assert [v.retrain is not None for v in verdicts] == [True, False, True, False, False]
    assert verdicts[1].evidence["helpfulness"].held == "cool-down"
    assert verdicts[4].evidence["helpfulness"].held == "budget"


def test_a_log_replays_it() -> None:
    rng = np.random.default_rng(2)
    shown = [{"helpfulness": ratings(*rng.random(4))} for _ in range(12)]
    first, second = overseer(overseer_steps=2), overseer(overseer_steps=2)
    assert [first.review(i, s, i // 5) for i, s in enumerate(shown)] == [
        second.review(i, s, i // 5) for i, s in enumerate(shown)
    ]


def test_the_null_overseer_never_acts() -> None:
    assert NullOverseer().review(0, {"helpfulness": ratings(0.0)}, 0).retrain is None
