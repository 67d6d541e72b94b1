"""The stop rule: it stops where gold falls beyond noise while the reward rises, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from custodes.training.rl.result import Evaluation
from custodes.training.rl.stopping import best_evaluation, overoptimised


def evaluation(
    step: int, gold: float, reward: float, noise: float = 0.1, n: int = 40
) -> Evaluation:
    golds = gold + np.random.default_rng(step).normal(size=n) * noise
    return Evaluation(step, float(golds.mean()), reward, 1.0, 10.0, golds.tolist())


def test_it_stops_on_the_shape_of_overoptimisation() -> None:
    rows = [evaluation(0, 0.2, 0.1), evaluation(10, 0.6, 0.4), evaluation(20, 0.3, 0.8)]
    assert overoptimised(rows[:2], 0.05) == ""
    reason = overoptimised(rows, 0.05)
    assert reason.startswith("stopped after step 20: gold fell by 0.3")
    assert "since step 10" in reason
    assert best_evaluation(rows) == 1


@pytest.mark.parametrize(
    ("gold", "reward"),
    [(0.58, 0.8), (0.3, 0.39), (0.7, 0.8)],
    ids=["within noise", "the reward fell, too", "gold rose"],
)
def test_it_goes_on_otherwise(gold: float, reward: float) -> None:
    rows = [evaluation(0, 0.2, 0.1), evaluation(10, 0.6, 0.4), evaluation(20, gold, reward)]
    assert overoptimised(rows, 0.05) == ""


def test_noise_alone_seldom_stops_it() -> None:
    """Twelve evaluations of a gold score that never changes, the reward rising: at most 5%."""
    stopped = 0
    for seed in range(100):
        draws = np.random.default_rng(seed).normal(size=(12, 48))
        rows = []
        for step, golds in enumerate(draws):
            rows.append(Evaluation(step, float(golds.mean()), step, 1.0, 9.0, golds.tolist()))
            if overoptimised(rows, 0.05):
                stopped += 1
                break
    assert stopped <= 5


def test_without_gold_the_last_is_kept_and_nothing_stops() -> None:
    rows = [Evaluation(step, None, float(step), 1.0, 9.0) for step in range(3)]
    assert best_evaluation(rows) == 2
    assert overoptimised(rows, 0.05) == ""
