"""Surprise: what is planted is found, what is smooth is not, and p-values are uniform."""

import math

import numpy as np
import pytest

from custodes.errors import DataError
from custodes.sweep.samplers.sobol import sobol_units
from custodes.sweep.space import Space
from custodes.sweep.surprise import (
    Forecast,
    adjusted,
    confirm,
    negative_log_density,
    surprises,
)

UNIT2 = {"x": (0.0, 1.0), "y": (0.0, 1.0)}


def smooth(points):
    return np.array([math.sin(4 * p["x"]) + p["y"] ** 2 for p in points])


def a_map(seed, n=40, planted=0, noise=0.05, size=0.6):
    rng = np.random.default_rng(seed)
    points = Space.parse(UNIT2).from_unit(sobol_units(2, n, seed))
    values = smooth(points) + noise * rng.standard_normal(n)
    bad = rng.choice(n, planted, replace=False)
    values[bad] += size * rng.choice([-1, 1], planted)
    return points, values, set(bad.tolist())


def test_what_is_planted_is_found_and_little_else():
    hits = found = 0
    for seed in range(3):
        points, values, bad = a_map(seed, planted=3)
        flagged = {i for i, row in enumerate(surprises(UNIT2, points, values)) if row.flagged}
        hits += len(flagged & bad)
        found += len(flagged)
    assert hits >= 8
    assert found - hits <= 2


def test_a_smooth_map_has_few_small_p_values():
    p = [row.p for seed in range(3) for row in surprises(UNIT2, *a_map(10 + seed)[:2])]
    assert np.mean(np.array(p) <= 0.05) < 0.12
    assert 0.35 < np.median(p) < 0.65


def test_a_known_error_excuses_what_is_off():
    points, values, bad = a_map(0, planted=1)
    sd = np.full(len(values), 0.05)
    assert {i for i, r in enumerate(surprises(UNIT2, points, values, sd)) if r.flagged} == bad
    sd[list(bad)] = 1.0
    assert not any(row.flagged for row in surprises(UNIT2, points, values, sd))


def test_replicates_do_not_vouch_for_each_other():
    points, values, bad = a_map(0, planted=1)
    fresh = smooth(points) + 0.05 * np.random.default_rng(9).standard_normal(len(points))
    i = bad.copy().pop()
    fresh[i] = values[i]
    twice, again = [*points, *points], np.concatenate([values, fresh])
    rows = surprises(UNIT2, twice, again)
    assert len(rows) == len(points)
    assert {row.runs for row in rows} == {2}
    assert {i for i, row in enumerate(rows) if row.flagged} == bad


def test_few_points_surprise_nobody():
    points, values, _ = a_map(0, n=7)
    assert all(row.p == 1.0 and not row.flagged for row in surprises(UNIT2, points, values))
    assert surprises(UNIT2, [], []) == []


def test_the_same_map_gives_the_same_p_values():
    points, values, _ = a_map(0, n=12)
    assert surprises(UNIT2, points, values) == surprises(UNIT2, points, values)


def test_fresh_runs_bear_a_flag_out_or_do_not():
    points, values, bad = a_map(0, planted=1)
    row = next(r for i, r in enumerate(surprises(UNIT2, points, values)) if i in bad)
    assert confirm(row, []) is None
    assert confirm(row, [row.value, row.value]) is True
    assert confirm(row, [row.expected]) is False
    # Off by as much, but the other way: that is not what was flagged.
    assert confirm(row, [2 * row.expected - row.value]) is False


def test_a_forecast_is_scored_by_its_density():
    forecast = Forecast("surrogate", 1.0, 0.5)
    assert negative_log_density(forecast, 1.0) == pytest.approx(
        math.log(0.5) + 0.5 * math.log(2 * math.pi)
    )
    assert negative_log_density(forecast, 2.0) == pytest.approx(
        negative_log_density(forecast, 1.0) + 2.0
    )


@pytest.mark.parametrize("sd", [0.0, -1.0, float("nan"), float("inf")])
def test_a_forecast_has_an_sd(sd):
    with pytest.raises(DataError):
        Forecast("surrogate", 0.0, sd)


def test_q_values_are_benjamini_and_hochbergs():
    assert adjusted(np.array([0.01, 0.04, 0.03, 0.5])).tolist() == pytest.approx(
        [0.04, 0.16 / 3, 0.16 / 3, 0.5]
    )
