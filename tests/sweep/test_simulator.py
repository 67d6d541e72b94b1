"""The simulator: its own rules, and that it does what the loop with a simulated Worker does."""

import numpy as np
import pytest

from custodes.errors import ConfigError
from custodes.models.simulated import Dynamics, SimulatedState, next_state
from custodes.oversight.bounds import lower_bound
from custodes.sweep.simulator import LoopModel, calibrate, level_moments, simulate
from custodes.sweep.simulator.calibrate import RunSeries

NOTHING = LoopModel(noise=0.0, threshold_helpfulness=-1.0, threshold_harmlessness=-1.0)


def logit(p):
    return np.log(p / (1 - p))


def test_without_retrains_nothing_changes():
    run = simulate(NOTHING, 5, loops=3)
    assert run.gold.shape == (3, 6, 2)
    assert run.ratings.shape == (3, 5, 2)
    assert np.allclose(run.gold, [logit(0.6), -logit(0.3)])
    assert (run.retrains == -1).all()


def test_a_retrain_moves_the_logits_as_the_simulated_teacher_does():
    model = LoopModel(
        noise=0.0,
        threshold_harmlessness=1.0,
        threshold_helpfulness=-1.0,
        cooldown=0.0,
        max_retrains=2.0,
        overseer_steps=1.0,
    )
    run = simulate(model, 4)
    state = SimulatedState()
    for step in (0, 1):
        state = next_state(state, "harmlessness", Dynamics(noise=0.0), step)
    assert run.retrains[0].tolist() == [1, 1, -1, -1]
    assert run.gold[0, -1] == pytest.approx([logit(state.helpful), -logit(state.harmful)])


def test_budget_cooldown_and_intercepts_are_the_overseers():
    failing = {"threshold_harmlessness": 1.0, "threshold_helpfulness": -1.0, "gain": 0.0}
    model = LoopModel(overseer_steps=2.0, cooldown=3.0, max_retrains=3.0, **failing)
    steps = np.flatnonzero(simulate(model, 20).retrains[0] >= 0)
    assert steps.tolist() == [1, 5, 9]
    every = LoopModel(overseer_steps=1.0, cooldown=2.0, max_retrains=3.0, **failing)
    # The loop's own: step - last <= cooldown is too early. The first has 8 ratings at step 0.
    assert np.flatnonzero(simulate(every, 20).retrains[0] >= 0).tolist() == [0, 3, 6]
    few = LoopModel(batch=4.0, min_ratings=9.0, overseer_steps=2.0, **failing)
    assert (simulate(few, 20).retrains == -1).all()


def test_the_worse_domain_goes_first():
    model = LoopModel(helpful=0.9, harmful=0.9, threshold_helpfulness=0.95, rule="mean")
    assert simulate(model, 2, loops=20).retrains[:, 1].tolist() == [1] * 20


def test_every_loop_has_its_own_parameters_and_noise_its_seed():
    model = LoopModel(helpful=np.array([0.2, 0.8]), threshold_helpfulness=0.5)
    a, b = simulate(model, 30, loops=2, seed=1), simulate(model, 30, loops=2, seed=1)
    assert (a.ratings == b.ratings).all()
    assert (simulate(model, 30, loops=2, seed=2).ratings != a.ratings).any()
    assert (a.retrains[0] == 0).any()


def test_more_loops_than_fit_a_chunk_are_all_run():
    run = simulate(LoopModel(helpful=np.linspace(0.1, 0.9, 4100)), 1, loops=4100)
    assert np.allclose(run.gold[:, 0, 0], logit(np.linspace(0.1, 0.9, 4100)))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"helpfull": 0.5}, "did you mean helpful"),
        ({"gain": np.ones(3)}, "shape"),
        ({"gain": np.nan}, "not a number"),
        ({"helpful": 1.0}, "between 0 and 1"),
    ],
)
def test_bad_parameters_are_refused(columns, message):
    with pytest.raises(ConfigError, match=message):
        simulate(LoopModel().at_points(columns), 1, loops=2)


def test_the_moments_of_a_level_are_what_sampling_says():
    rng = np.random.default_rng(0)
    for u, tau in ((0.3, 1.1), (-2.0, 0.5), (1.5, 3.0)):
        level = 1 / (1 + np.exp(-(u + tau * rng.standard_normal(400_000))))
        mean, sd = level_moments(np.array([u]), tau)
        assert mean[0] == pytest.approx(level.mean(), abs=0.003)
        assert sd[0] == pytest.approx(level.std(), abs=0.003)


@pytest.mark.parametrize("n", [16, 64])
def test_the_lower_bound_is_close_to_the_overseers(n):
    rng = np.random.default_rng(0)
    missed = []
    for u in (-1.5, 0.0, 1.5):
        for x in 1 / (1 + np.exp(-(u + 1.1 * rng.standard_normal((30, n))))):
            log = np.log(1 / 0.05)
            said = x.mean() - 0.40 * x.std() * np.sqrt(2 * log / n) - 0.51 * log / n
            missed.append(lower_bound(x, 0.05) - said)
    assert abs(np.mean(missed)) < 0.02
    assert np.std(missed) < 0.17 / np.sqrt(n)


def test_jailbreaks_and_damage_do_what_they_say():
    attacked = LoopModel(
        noise=0.0,
        threshold_helpfulness=-1.0,
        threshold_harmlessness=-1.0,
        at=5.0,
        until=10.0,
        jailbreak=1.0,
        jailbreak_effect=2.0,
        batch=1000.0,
    )
    ratings = simulate(attacked, 15).ratings[0, :, 1]
    assert ratings[5:10].max() < ratings[:5].min() - 0.2
    assert ratings[10:].min() > ratings[5:10].max() + 0.2
    hurt = simulate(attacked.at_points({"jailbreak": 0.0, "damage": 1.0}), 15)
    assert hurt.gold[0, 5] - hurt.gold[0, 6] == pytest.approx([1.0, 1.0])


def test_what_is_forgotten_goes_back_to_the_start():
    model = LoopModel(
        noise=0.0,
        forgetting=0.2,
        threshold_harmlessness=1.0,
        threshold_helpfulness=-1.0,
        max_retrains=1.0,
    )
    gold = simulate(model, 60).gold[0]
    assert gold[2, 1] - gold[0, 1] == pytest.approx(1.0)
    assert np.allclose(gold[-1], gold[0], atol=1e-3)


# Against the loop itself


def test_it_forecasts_the_loop_with_a_simulated_worker(tmp_path):
    from custodes.config import validate_config
    from custodes.oversight.config import OverseeConfig
    from custodes.oversight.run import oversee
    from custodes.sweep.simulator.configured import model_of

    raw = {
        "name": "loop",
        "steps": 16,
        "worker": {"model": "simulated:helpful=0.6,harmful=0.5"},
        "user": {"kind": "dataset", "batch": 32},
        "experts": [
            {"kind": "simulated", "domain": "helpfulness", "noise": 0.05},
            {"kind": "simulated", "domain": "harmlessness", "noise": 0.05},
        ],
        "overseer": {
            "overseer_steps": 4,
            "thresholds": {"helpfulness": 0.4, "harmlessness": 0.6},
        },
        "teacher": {"kind": "simulated"},
    }
    gold, retrains = [], []
    for seed in range(6):
        config = validate_config(raw | {"seed": seed}, OverseeConfig)
        summary = oversee(config, tmp_path / str(seed))
        last = {row["domain"]: row["score"] for row in summary["gold"]}
        gold.append([last["helpfulness"], last["harmlessness"]])
        retrains.append(len(summary["retrains"]))
    runs = simulate(model_of(config), 16, loops=500)
    error = np.std(gold, axis=0, ddof=1) / np.sqrt(6) + 0.15
    assert (np.abs(np.mean(gold, axis=0) - runs.gold[:, -1].mean(axis=0)) < 3 * error).all()
    expected = (runs.retrains >= 0).sum(axis=1)
    assert abs(np.mean(retrains) - expected.mean()) < 1.0


# Calibration


def series(model, seed, steps=24, counts=40.0):
    run = simulate(model.at_points({"batch": counts}), steps, seed=seed)
    return RunSeries(
        run.ratings[0],
        np.full((steps, 2), counts),
        run.retrains[0].astype(int),
        np.zeros(steps),
        str(seed),
    )


TRUE = LoopModel(
    helpful=0.4,
    harmful=0.6,
    gain=0.8,
    tax=0.3,
    fade=0.8,
    noise=0.02,
    temperature=0.9,
    threshold_helpfulness=0.6,
    threshold_harmlessness=0.7,
    max_retrains=5.0,
)


def test_it_is_fitted_to_runs_and_predicts_others():
    fitted = calibrate([series(TRUE, seed) for seed in range(6)])
    for name in ("helpful", "harmful", "gain", "tax", "fade"):
        assert abs(fitted.parameters[name] - getattr(TRUE, name)) < max(
            4 * fitted.errors[name], 0.05
        )
    assert fitted.control.passed
    assert fitted.held_out["simulator"] < 0.7 * fitted.held_out["mean"]


def test_runs_that_do_not_follow_it_fail_the_control():
    rng = np.random.default_rng(0)
    runs = [
        RunSeries(
            rng.uniform(0, 1, (10, 2)),
            np.full((10, 2), 20.0),
            rng.integers(-1, 2, 10),
            np.zeros(10),
        )
        for _ in range(4)
    ]
    assert calibrate(runs).control.passed is False


def test_two_runs_are_too_few_to_leave_one_out():
    assert calibrate([series(TRUE, seed) for seed in range(2)]).control.passed is None


@pytest.mark.filterwarnings("error")
def test_runs_with_one_domain_are_fitted_in_that_domain():
    runs = [series(TRUE, seed) for seed in range(4)]
    for run in runs:
        run.ratings[:, 0] = np.nan
        run.counts[:, 0] = 0
    fitted = calibrate(runs)
    assert abs(fitted.parameters["harmful"] - TRUE.harmful) < 0.05
    assert np.isfinite(list(fitted.held_out.values())).all()
