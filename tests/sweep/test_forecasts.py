"""Forecasts: who makes one, and whose reply is none."""

import numpy as np
import pytest
from tests.support.scripted import ScriptedModel

from custodes.config import validate_config
from custodes.errors import ConfigError
from custodes.oversight.config import OverseeConfig
from custodes.sweep.forecasts import (
    ask_model,
    emulator,
    forecast_surrogate,
    from_simulator,
    parse_forecast,
    surrogate_forecasts,
)
from custodes.sweep.samplers.base import History
from custodes.sweep.space import Space
from custodes.sweep.surprise import Forecast

SPACE = {"x": (0.0, 1.0)}


def told(n):
    history = History(SPACE)
    x = np.linspace(0, 1, n)
    history.tell([{"x": float(v)} for v in x], (3 * x).tolist(), sd=0.1)
    return history


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("mean=0.5 sd=0.1", (0.5, 0.1)),
        ("mean = -1.5e-1, sd = 2\nbecause", (-0.15, 2.0)),
        ("mean=0.5", None),
        ("I think mean=0.5 sd=0.1", None),
        ("mean=0.5 sd=0", None),
        ("mean=1.2.3 sd=1", None),
        ("mean=1e999 sd=1", None),
        ("", None),
    ],
)
def test_a_reply_is_one_line_of_two_numbers(reply, expected):
    found = parse_forecast(reply)
    assert found == (None if expected is None else Forecast("llm", *expected))


def test_a_language_model_is_shown_the_runs_and_asked(monkeypatch):
    asked = []

    def reply(prompt):
        asked.append(prompt)
        return "mean=0.25 sd=0.5"

    monkeypatch.setattr("custodes.models.resolve.load", lambda name: ScriptedModel(reply))
    found = ask_model("any", "retrains", {"x": 0.5}, told(40), 0)
    assert found == Forecast("llm", 0.25, 0.5)
    # The last 30 runs, and the point.
    assert asked[0].count("x=") == 31
    assert "retrains" in asked[0]


def test_a_surrogate_forecasts_from_the_eighth_run_on_with_the_noise_of_a_run():
    assert forecast_surrogate(told(7), 0) is None
    history = told(9)
    surrogate = forecast_surrogate(history, 0)
    (forecast,) = surrogate_forecasts(surrogate, history, [{"x": 0.5}])
    assert forecast.mean == pytest.approx(1.5, abs=0.1)
    assert forecast.sd >= 0.1


def config(model):
    kind = "simulated" if model.startswith("simulated") else "head"
    raw = {
        "name": "loop",
        "worker": {"model": model},
        "experts": [{"kind": kind, "domain": "harmlessness"}],
        "overseer": {"thresholds": {"harmlessness": 0.5}},
    }
    return validate_config(raw, OverseeConfig)


def test_the_simulator_says_nothing_of_a_worker_that_nothing_was_fitted_to():
    assert from_simulator(config("smollm2-135m"), "retrains", None, 0) is None
    fitted = {"helpful": 0.6, "harmful": 0.3}
    assert from_simulator(config("smollm2-135m"), "retrains", fitted, 0) is not None
    # The gold score of a real Worker is on another Expert's scale.
    assert from_simulator(config("smollm2-135m"), "gold.harmlessness", fitted, 0) is None
    assert from_simulator(config("simulated"), "gold.harmlessness", None, 0) is not None
    assert from_simulator(config("simulated"), "seconds", None, 0) is None


def test_an_emulator_stands_for_the_simulator():
    space = Space.parse(SPACE)
    prior = emulator(space, lambda p: Forecast("simulator", p["x"] ** 2, 0.1), "retrains", 0)
    assert prior([{"x": 0.3}, {"x": 0.9}]) == pytest.approx([0.09, 0.81], abs=0.01)
    with pytest.raises(ConfigError, match="no forecast of seconds"):
        emulator(space, lambda p: None, "seconds", 0)
