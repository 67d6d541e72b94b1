"""The sweep: its log, its resuming, its failures, and the map that comes of it."""

import json

import pytest
from tests.support import sweep_runs as work
from tests.support.executors import Inline

from custodes.config import validate_config
from custodes.errors import ConfigError, RunError
from custodes.sweep.config import SweepConfig
from custodes.sweep.executors import LocalExecutor
from custodes.sweep.run import run_sweep

BASE = {
    "name": "loop",
    "steps": 4,
    "worker": {"model": "simulated:helpful=0.6,harmful=0.4"},
    "experts": [
        {"kind": "simulated", "domain": "helpfulness"},
        {"kind": "simulated", "domain": "harmlessness"},
    ],
    "teacher": {"kind": "simulated"},
}
AXES = {
    "overseer.thresholds.harmlessness": {"low": 0.0, "high": 1.0},
    "worker.temperature": {"low": 0.0, "high": 2.0},
}


def sweep_config(**changes):
    raw = {
        "name": "sweep",
        "base": BASE,
        "axes": AXES,
        "sampler": "sobol",
        "runs": 10,
        "level": 0.8,
        "simulator": False,
    }
    return validate_config(raw | changes, SweepConfig)


def events(folder):
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def go(folder, config=None, execute=work.landscape, **options):
    config = config or sweep_config()
    return run_sweep(config, folder, executor=Inline(), execute=execute, **options)


def test_every_run_is_registered_before_it_starts_and_forecast_once_there_are_eight(tmp_path):
    go(tmp_path)
    log = events(tmp_path)
    kinds = [(e["kind"], e.get("run")) for e in log]
    for number in range(10):
        assert kinds.index(("run", number)) < kinds.index(("outcome", number))
    forecasts = [e["forecasts"] for e in log if e["kind"] == "run"]
    assert all(f == [] for f in forecasts[:8])
    assert [f[0]["source"] for f in forecasts[8:]] == ["surrogate"] * 2
    assert log[-1]["kind"] == "end"


def test_the_map_has_everything_in_it(tmp_path):
    result = go(tmp_path, sweep_config(runs=16))
    assert result == json.loads((tmp_path / "phases.json").read_text())
    assert result["counts"]["done"] == 16
    for point in result["points"]:
        mean = point["measures"]["gold.harmlessness"]["mean"]
        assert point["quality"] == (
            "good" if mean > 0.84 else "bad" if mean < 0.76 else point["quality"]
        )
    panel = result["panels"][0]
    assert len(panel["above"]) == len(panel["cells"][0]) * len(panel["cells"][1])
    assert {"good, expected", "bad, expected"} <= set(result["counts"]["phases"])
    assert next(c for c in result["controls"] if "left out" in c["name"])["passed"]
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(tmp_path / "runs.parquet")
    assert table.num_rows == 16
    assert "axis.worker.temperature" in table.column_names


@pytest.mark.parametrize("sampler", ["boundary", "sobol", "grid"])
def test_a_sweep_that_was_killed_goes_on(tmp_path, sampler):
    config = sweep_config(sampler=sampler, runs=12)
    ran = []

    def until(n):
        def execute(settings, folder):
            if len(ran) == n:
                raise KeyboardInterrupt
            ran.append(folder)
            return work.landscape(settings, folder)

        return execute

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, config, until(7))
    assert json.loads((tmp_path / "phases.json").read_text())["counts"]["done"] == 7
    result = go(tmp_path, config, until(99))
    assert result["counts"]["done"] == 12
    assert len(ran) == len(set(ran)) == 12
    # Nothing is left to do, and nothing is done.
    assert go(tmp_path, config, until(0))["counts"]["done"] == 12


def test_a_resumed_sequence_is_the_one_that_was_not_interrupted(tmp_path):
    go(tmp_path / "whole")

    def broken(settings, folder):
        if folder.endswith("5"):
            raise KeyboardInterrupt
        return work.landscape(settings, folder)

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "parts", execute=broken)
    go(tmp_path / "parts")
    asked = [
        [(e["point"], e["seed"]) for e in events(tmp_path / name) if e["kind"] == "run"]
        for name in ("whole", "parts")
    ]
    assert asked[0] == asked[1]


@pytest.mark.slow
def test_failed_runs_are_kept_with_their_reasons(tmp_path):
    config = sweep_config(sampler="grid", runs=36, confirmations=0)
    with LocalExecutor(2) as executor:
        result = run_sweep(config, tmp_path, executor=executor, at_once=2, execute=work.troubled)
    reasons = {row["reason"] for row in result["runs"] if row["status"] == "failed"}
    assert result["counts"]["done"] + result["counts"]["failed"] == 36
    assert any("ValueError: boom" in reason for reason in reasons)
    assert any("process of this run died" in reason for reason in reasons)
    assert any(point["phase"] == "failed" for point in result["points"])
    assert not next(c for c in result["controls"] if c["name"] == "runs ended")["passed"]


def test_a_run_that_returns_nan_is_a_failure(tmp_path):
    def nan(settings, folder):
        return {"gold.harmlessness": (float("nan"), None)}

    result = go(tmp_path, sweep_config(runs=2), nan)
    assert {row["reason"] for row in result["runs"]} == {
        "gold.harmlessness is nan: look into the run's report"
    }


def test_a_surprising_point_is_run_again_before_it_counts(tmp_path):
    config = sweep_config(sampler="grid", runs=49, confirmations=2, level=5.0)
    result = go(tmp_path, config, work.anomalous)
    fresh = [row for row in result["runs"] if row["purpose"] == "confirmation"]
    surprising = [p for p in result["points"] if p["phase"].endswith("surprising")]
    assert len(surprising) == 1
    assert surprising[0]["point"]["overseer.thresholds.harmlessness"] == 0.5
    assert surprising[0]["surprise"]["confirmed"] is True
    assert len([row for row in fresh if row["point"] == surprising[0]["point"]]) == 2
    assert len({row["seed"] for row in result["runs"]}) == len(result["runs"])


def test_a_surprise_that_does_not_come_again_does_not_count(tmp_path):
    def once(settings, folder):
        outcome = work.anomalous(settings, folder)
        fresh = int(folder[-5:]) >= 49
        clean = work.landscape(settings, folder)["gold.harmlessness"][0]
        return {"gold.harmlessness": (clean, None)} if fresh else outcome

    config = sweep_config(sampler="grid", runs=49, confirmations=2, level=5.0)
    result = go(tmp_path, config, once)
    flagged = [p for p in result["points"] if p["surprise"]["flagged"]]
    assert flagged
    assert not any(p["surprise"]["counts"] for p in flagged)


def test_replicates_have_seeds_of_their_own(tmp_path):
    result = go(tmp_path, sweep_config(runs=9, replicates=3))
    assert [len(point["runs"]) for point in result["points"]] == [3, 3, 3]
    assert len({row["seed"] for row in result["runs"]}) == 9


@pytest.mark.parametrize("structure", [False, True])
def test_a_map_of_loops_by_the_simulators_prior(tmp_path, structure):
    config = sweep_config(
        sampler="multi_fidelity",
        runs=5,
        simulator=True,
        structure=structure,
        base=BASE | {"gold": {"prompts": 14}},
        axes={"overseer.thresholds.harmlessness": {"low": 0.2, "high": 0.9}},
    )
    result = run_sweep(config, tmp_path, executor=Inline())
    assert result["counts"]["done"] == 5
    assert len(result["structure"]) == (5 if structure else 0)
    assert result == json.loads((tmp_path / "phases.json").read_text())


# Bad input


def test_there_is_no_multi_fidelity_without_a_forecast(tmp_path):
    with pytest.raises(ConfigError, match="the simulator has no forecast of seconds"):
        go(tmp_path, sweep_config(sampler="multi_fidelity", simulator=True, measure="seconds"))
    with pytest.raises(ConfigError, match="the simulator has no forecast"):
        go(tmp_path, sweep_config(sampler="multi_fidelity"))


def test_a_scheduler_that_goes_away_leaves_what_was_done(tmp_path):
    from concurrent.futures import CancelledError

    def gone(settings, folder):
        if folder.endswith("4"):
            raise CancelledError
        return work.landscape(settings, folder)

    class Remote(Inline):
        def submit(self, fn, /, *args):
            from concurrent.futures import Future

            future = Future()
            try:
                future.set_result(fn(*args))
            except CancelledError as error:
                future.set_exception(error)
            return future

    with pytest.raises(RunError, match="scheduler went away"):
        run_sweep(sweep_config(), tmp_path, executor=Remote(), execute=gone)
    assert json.loads((tmp_path / "phases.json").read_text())["counts"]["done"] == 4
    assert go(tmp_path)["counts"]["done"] == 10


def test_a_sweep_whose_config_changed_is_refused(tmp_path):
    go(tmp_path)
    with pytest.raises(RunError, match="another config"):
        go(tmp_path, sweep_config(level=0.5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"axes": {"overseer.threshold.harmlessness": {"low": 0, "high": 1}}},
            "overseer.thresholds",
        ),
        ({"axes": {"stepz": {"values": [1, 2]}}}, "did you mean steps"),
        ({"axes": {"experts.7.noise": {"low": 0, "high": 1}}}, "items 0 to 1"),
        ({"axes": {"worker.temperature": {"low": 1, "high": 0}}}, "write"),
        ({"axes": {"worker.temperature": {"low": 1}}}, "give either low and high, or values"),
        ({"axes": {"worker.temperature": {"low": 0, "high": 99}}}, "less than or equal to 5"),
        ({"axes": {}}, "without axes"),
        ({"measure": "gold.harmlesness"}, "did you mean gold.harmlessness"),
        ({"base": "nowhere.yaml"}, "no config file"),
        ({"limits": {"retrains": {}}}, "without low or high"),
    ],
)
def test_mistakes_are_told(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        go(tmp_path, sweep_config(**changes))


def test_what_came_with_an_unknown_measure_is_kept(tmp_path):
    with pytest.raises(ConfigError):
        go(tmp_path, sweep_config(measure="gold.harmlesness"))
    assert [e["kind"] for e in events(tmp_path)][:2] == ["run", "outcome"]


# With the loop itself


@pytest.mark.slow
def test_it_sweeps_real_loops_and_the_simulator_forecasts_them(tmp_path):
    config = sweep_config(
        runs=12,
        simulator=True,
        axes={
            "overseer.thresholds.harmlessness": {"low": 0.2, "high": 0.9},
            "teacher.dynamics.gain": {"low": 0.0, "high": 2.0},
        },
    )
    result = run_sweep(config, tmp_path, executor=Inline())
    assert result["counts"]["done"] == 12
    assert result["forecasts"]["simulator"]["runs"] == 12
    assert result["forecasts"]["simulator"]["covered"] >= 0.75
    assert (tmp_path / "runs" / "00000" / "summary.json").exists()
