"""Recovery, collapse, oscillation, hysteresis and early-warning signs, each on known cases."""

import numpy as np
import pytest

from custodes.errors import ConfigError
from custodes.sweep.dynamics import (
    collapse,
    early_warning,
    hysteresis,
    last_worker,
    oscillation,
    recovery_time,
    walk,
    walk_runs,
    walk_simulator,
)
from custodes.sweep.dynamics.early_warning import kendall
from custodes.sweep.simulator import LoopModel

DIP = [1.0] * 5 + [0.0] * 4 + [1.0] * 6


def test_recovery_is_the_first_step_from_which_on_it_is_back():
    found = recovery_time(DIP, 5, margin=0.1)
    assert (found.outcome, found.steps, found.lowest) == ("recovered", 4, 0.0)
    assert recovery_time(DIP[:10], 5, margin=0.1).outcome == "not_recovered"
    assert recovery_time([1.0] * 12, 5, margin=0.1).outcome == "no_damage"
    assert recovery_time(DIP, 2, margin=0.1).outcome == "unknown"


def test_a_second_dip_is_not_a_recovery():
    assert recovery_time([*DIP, *[0.0] * 4], 5, margin=0.1).outcome == "not_recovered"


def test_a_margin_below_zero_is_refused():
    with pytest.raises(ValueError, match="margin"):
        recovery_time(DIP, 5, margin=-1)


def test_collapse_is_for_good():
    assert collapse([1, 1, 0, 0, 0, 0], 0.5) == 2
    assert collapse([1, 0, 0, 0, 1], 0.5) is None
    assert collapse([1, 1, 1, 0, 0], 0.5) is None
    assert collapse([0, 0, 0], 0.5) == 0


def test_alternation_is_an_oscillation_and_blocks_are_not():
    swing = oscillation([0, 1] * 5)
    assert swing.alternations == 9
    assert swing.p == pytest.approx(2 / 252)
    assert oscillation([0] * 5 + [1] * 5).p == 1.0
    assert oscillation([1]).p == 1.0
    assert oscillation(["a"] * 6).p == 1.0


def test_random_orders_rarely_oscillate():
    rng = np.random.default_rng(0)
    p = [oscillation(rng.integers(0, 2, 10)).p for _ in range(200)]
    assert np.mean(np.array(p) <= 0.05) <= 0.08


def memory(value, state):
    """A switch that goes up at 0.7 and down at 0.3: bistable in between."""
    on = bool(state)
    on = value > 0.3 if on else value > 0.7
    return float(on), on


def test_a_switch_with_memory_has_hysteresis_and_one_without_has_none():
    values = np.linspace(0, 1, 11)
    rng = np.random.default_rng(0)
    up, down, plain_up, plain_down = [], [], [], []
    for _ in range(6):
        a, b, _ = walk(memory, values, False)
        up.append(a + 0.05 * rng.standard_normal(11))
        down.append(b + 0.05 * rng.standard_normal(11))
        plain_up.append(values + 0.05 * rng.standard_normal(11))
        plain_down.append(values + 0.05 * rng.standard_normal(11))
    found = hysteresis(up, down)
    assert found.area == pytest.approx(4 / 11, abs=0.05)
    assert found.p == pytest.approx(1 / 32)
    assert found.largest > 0.9
    assert hysteresis(plain_up, plain_down).p > 0.05


def test_one_walk_proves_nothing():
    up, down, _ = walk(memory, [0.0, 0.5, 1.0], False)
    assert hysteresis(up, down).p == 1.0


# Early warning


def autoregressive(rng, phi):
    x = np.zeros(len(phi))
    for i in range(1, len(phi)):
        x[i] = phi[i] * x[i - 1] + rng.standard_normal()
    return x


def test_kendall_is_scipys():
    from scipy.stats import kendalltau

    y = np.random.default_rng(0).standard_normal((3, 40))
    expected = [kendalltau(np.arange(40), row).statistic for row in y]
    assert kendall(y) == pytest.approx(expected)


def test_a_slowing_series_warns_and_stationary_noise_seldom_does():
    rng = np.random.default_rng(0)
    steps = 160
    rising = np.linspace(0.1, 0.97, steps)
    hits = [early_warning(autoregressive(rng, rising), surrogates=99).p <= 0.05 for _ in range(8)]
    flat = np.full(steps, 0.6)
    false = [early_warning(autoregressive(rng, flat), surrogates=99).p <= 0.05 for _ in range(8)]
    assert sum(hits) >= 4
    assert sum(false) <= 2


def test_a_constant_series_does_not_warn_and_a_short_one_is_refused():
    assert early_warning(np.ones(40)).p == 1.0
    with pytest.raises(ValueError, match="30"):
        early_warning(np.zeros(10))


# Loops


LOOP = {
    "name": "loop",
    "steps": 6,
    "worker": {"model": "simulated:helpful=0.6,harmful=0.5"},
    "user": {"kind": "dataset", "batch": 16},
    "experts": [
        {"kind": "simulated", "domain": "helpfulness"},
        {"kind": "simulated", "domain": "harmlessness"},
    ],
    "overseer": {"overseer_steps": 2, "thresholds": {"harmlessness": 0.5}, "rule": "mean"},
    "teacher": {"kind": "simulated", "prompts": 8, "samples": 2},
    "gold": {"prompts": 16},
}
THRESHOLD = "overseer.thresholds.harmlessness"


def test_a_worker_remembers_what_a_strict_overseer_made_of_it(tmp_path):
    up, down = walk_runs(LOOP, THRESHOLD, [0.05, 0.95], "gold.harmlessness", tmp_path)
    # It was retrained at the strict end, and stays so on the way back.
    assert down[0] - up[0] > 0.5
    legs = sorted(path.name for path in tmp_path.iterdir())
    assert legs == ["leg-00", "leg-01", "leg-02", "leg-03"]
    # The same call on the same folder does nothing anew.
    assert walk_runs(LOOP, THRESHOLD, [0.05, 0.95], "gold.harmlessness", tmp_path) == (up, down)


def test_a_worker_that_is_never_retrained_is_carried_over_as_it_is(tmp_path):
    up, down = walk_runs(
        LOOP | {"teacher": {"kind": "null"}},
        THRESHOLD,
        [0.05, 0.95],
        "gold.harmlessness",
        tmp_path,
    )
    assert max(up + down) - min(up + down) < 1.0
    assert last_worker(tmp_path / "leg-03", "simulated") == "simulated"


def test_the_simulator_has_hysteresis_where_retrains_stay_and_none_where_they_are_forgotten():
    walked = {}
    for forgetting in (0.0, 0.9):
        model = LoopModel(forgetting=forgetting, max_retrains=2.0, threshold_helpfulness=-1.0)
        up, down = walk_simulator(
            model, "threshold_harmlessness", [0.1, 0.4, 0.7, 0.95], steps=30, loops=10
        )
        walked[forgetting] = hysteresis(up[:, :3], down[:, :3])
    assert walked[0.0].area > 1.0
    assert walked[0.0].p < 0.01
    assert walked[0.9].area < 0.2 * walked[0.0].area


@pytest.mark.parametrize("values", [["mean", "single"], [True, False], [0.1, float("nan")]])
def test_there_is_no_walk_along_categories(tmp_path, values):
    with pytest.raises(ConfigError, match="a walk needs"):
        walk_runs(LOOP, "overseer.rule", values, "gold.harmlessness", tmp_path)
    with pytest.raises(ConfigError, match="a walk needs"):
        walk_simulator(LoopModel(), "gain", values, steps=2)


def test_a_walk_along_an_unknown_key_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"did you mean overseer\.thresholds"):
        walk_runs(LOOP, "overseer.threshold", [0.1, 0.2], "gold.harmlessness", tmp_path)
    with pytest.raises(ConfigError, match="did you mean gain"):
        walk_simulator(LoopModel(), "gian", [0.1, 0.2], steps=2)
