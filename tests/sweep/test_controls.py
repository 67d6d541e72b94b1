"""The controls of a sweep can fail: each is shown what it is there to find."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from custodes.sweep.output import _coverage, _covered, _skill
from custodes.sweep.simulator.calibrate import _control
from custodes.sweep.space import Space
from custodes.sweep.surrogate import Surrogate, fit_surrogate

SPACE = Space.parse({"x": (0.0, 1.0), "y": (0.0, 1.0)})


def fitted(shuffled: bool) -> Surrogate:
    """Fit a slope with some noise; shuffled, no value has anything to do with its point."""
    rng = np.random.default_rng(0)
    points = [{"x": float(x), "y": float(y)} for x, y in rng.uniform(size=(40, 2))]
    values = np.array([2 * p["x"] - p["y"] for p in points]) + 0.1 * rng.standard_normal(40)
    if shuffled:
        values = rng.permutation(values)
    return fit_surrogate(SPACE, SPACE.encode(points), values, np.full(40, np.nan))


def test_a_map_that_predicts_nothing_fails() -> None:
    assert _skill(fitted(shuffled=False)).passed
    assert _skill(fitted(shuffled=True)).passed is False
    assert _skill(None).passed is None


@pytest.mark.parametrize("sd", [0.01, 1.0, 30.0])
def test_what_an_interval_covers_is_read_off_the_density(sd: float) -> None:
    for z in (-4.0, -1.97, -1.95, 0.0, 1.95, 1.97, 9.0):
        nats = -norm.logpdf(z * sd, 0, sd)
        assert _covered({"sd": sd, "nats": nats}) == (abs(z) <= 1.96)


def test_forecasts_that_are_too_sure_of_themselves_fail() -> None:
    outcomes = np.random.default_rng(1).standard_normal(200)

    def coverage(sd: float, runs: int = 200) -> bool | None:
        covered = [
            _covered({"sd": sd, "nats": -norm.logpdf(outcome, 0, sd)})
            for outcome in outcomes[:runs]
        ]
        return _coverage("surrogate", {"runs": runs, "covered": float(np.mean(covered))}).passed

    assert coverage(1.0)
    assert coverage(0.3) is False
    assert coverage(0.3, runs=19) is None


@pytest.mark.parametrize("rival", ["mean", "nothing changes"])
def test_a_simulator_that_a_constant_beats_fails(rival: str) -> None:
    held_out = {"simulator": 0.10, "mean": 0.12, "nothing changes": 0.13}
    assert _control(held_out, 9).passed
    assert _control(held_out | {rival: 0.09}, 9).passed is False
    assert _control({}, 2).passed is None
