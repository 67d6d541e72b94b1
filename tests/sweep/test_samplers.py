"""The contract of every sampler, and what the boundary finder adds to it."""

import numpy as np
import pytest

from custodes.errors import ConfigError, DataError
from custodes.sweep.samplers import Boundary, Grid, Sampler, Sobol
from custodes.sweep.samplers.lookahead import doubt, expected_doubt

SPACES = {
    "float": {"x": (0.0, 1.0)},
    "floats": {"x": (-2.0, 3.0), "y": (1e-3, 1.0, "log")},
    "mixed": {"x": (0.0, 1.0), "n": [1, 2, 4], "kind": ["a", "b", "c"], "flag": [True, False]},
    "finite": {"n": [1, 2], "kind": ["a", "b"]},
    "single": {"n": [3]},
}
MAKE = {
    "grid": lambda space, seed=0: Grid(space, seed=seed),
    "sobol": lambda space, seed=0: Sobol(space, seed=seed),
    "boundary": lambda space, seed=0: Boundary(space, level=0.5, seed=seed),
}


def value(point):
    return sum(hash(str(v)) % 7 if isinstance(v, str) else float(v) for v in point.values()) / 3


@pytest.fixture(params=MAKE, name="make")
def _make(request):
    return MAKE[request.param]


@pytest.fixture(params=SPACES, name="space")
def _space(request):
    return SPACES[request.param]


def test_it_is_a_sampler(make, space):
    assert isinstance(make(space), Sampler)


def test_points_are_in_the_space_and_as_many_as_asked_for(make, space):
    sampler = make(space)
    for n in (0, 1, 3, 17):
        points = sampler.ask(n)
        assert len(points) == n
        sampler.space.encode(points)
        assert all(list(point) == list(space) for point in points)
        sampler.tell(points, [value(point) for point in points])


def test_asks_without_tells_do_not_repeat_themselves(make):
    sampler = make(SPACES["floats"])
    points = [point for _ in range(10) for point in sampler.ask(3)]
    assert len({tuple(point.values()) for point in points}) == 30


def test_the_same_seed_asks_for_the_same(make, space):
    def asked(seed):
        sampler, points = make(space, seed), []
        for _ in range(4):
            batch = sampler.ask(5)
            sampler.tell(batch, [value(point) for point in batch])
            points += batch
        return points

    assert asked(3) == asked(3)


def test_values_come_back_in_any_order_and_from_anywhere(make):
    sampler = make(SPACES["floats"])
    points = sampler.ask(12)
    sampler.tell(points[6:], [1.0] * 6)
    sampler.tell([{"x": 0.1, "y": 0.5}], [2.0])
    sampler.tell(points[:6][::-1], np.zeros(6), sd=0.1)
    sampler.tell([], [])
    assert len(sampler.history.points) == 13
    assert sampler.history.pending == []


def test_a_point_may_be_told_many_times(make):
    sampler = make(SPACES["floats"])
    sampler.tell([{"x": 0.1, "y": 0.5}] * 40, [1.0, 0.0] * 20)
    assert len(sampler.ask(3)) == 3


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None, "a"])
def test_a_value_that_is_no_number_is_refused_and_nothing_is_kept(make, bad):
    sampler = make(SPACES["floats"])
    points = sampler.ask(2)
    with pytest.raises(DataError):
        sampler.tell(points, [0.0, bad])
    assert sampler.history.points == []
    assert len(sampler.history.pending) == 2


def test_bad_tells_are_refused(make):
    sampler = make(SPACES["floats"])
    points = sampler.ask(2)
    with pytest.raises(DataError, match="tell one for each point"):
        sampler.tell(points, [0.0])
    with pytest.raises(DataError, match="negative"):
        sampler.tell(points, [0.0, 0.0], sd=-1.0)
    with pytest.raises(DataError, match="sd"):
        sampler.tell(points, [0.0, 0.0], sd=[float("nan"), 1.0])
    with pytest.raises(ConfigError, match="no axis 'z'"):
        sampler.tell([{"z": 1.0}], [0.0])


@pytest.mark.parametrize("n", [-1, 1.5, True, None])
def test_bad_asks_are_refused(make, n):
    with pytest.raises(ConfigError, match="whole number"):
        make(SPACES["floats"]).ask(n)


def test_a_withdrawn_point_is_no_longer_expected(make):
    sampler = make(SPACES["floats"])
    points = sampler.ask(3)
    sampler.withdraw(points[:1])
    assert sampler.history.pending == points[1:]
    sampler.withdraw(points)
    assert sampler.history.pending == []


@pytest.mark.parametrize("name", ["grid", "sobol"])
def test_a_sequence_goes_on_after_points_that_are_skipped(name):
    whole = MAKE[name](SPACES["mixed"]).ask(20)
    sampler = MAKE[name](SPACES["mixed"])
    sampler.skip(whole[:13])
    assert sampler.ask(7) == whole[13:]


# The grid


def test_a_grid_is_every_combination_and_then_refines():
    grid = Grid({"x": (0.0, 1.0), "kind": ["a", "b"]}, levels=3)
    points = grid.ask(10)
    assert len(grid) == 6
    assert sorted({p["x"] for p in points[:6]}) == [0.0, 0.5, 1.0]
    assert {p["x"] for p in points[6:]} == {0.25, 0.75}
    assert len({tuple(p.values()) for p in points}) == 10


# The boundary


def test_a_level_is_a_finite_number():
    with pytest.raises(ConfigError, match="finite"):
        Boundary(SPACES["float"], level=float("nan"))


def test_the_probability_is_a_half_before_anything_is_told():
    sampler = Boundary(SPACES["float"], level=0.5)
    assert sampler.probability_above([{"x": 0.1}, {"x": 0.9}]).tolist() == [0.5, 0.5]


def line(points):
    return [point["x"] for point in points]


def test_it_finds_the_boundary_of_a_line():
    sampler = Boundary(SPACES["float"], level=0.62, seed=1)
    for _ in range(15):
        points = sampler.ask(1)
        sampler.tell(points, line(points))
    p = sampler.probability_above([{"x": 0.60}, {"x": 0.64}])
    assert p[0] < 0.05
    assert p[1] > 0.95
    after = np.array([point["x"] for point in sampler.history.points[8:]])
    assert np.median(np.abs(after - 0.62)) < 0.1


def disc(points):
    return [0.35 - np.hypot(point["x"] - 0.4, point["y"] - 0.6) for point in points]


UNIT2 = {"x": (0.0, 1.0), "y": (0.0, 1.0)}


def misclassified(sampler, f):
    side = (np.arange(40) + 0.5) / 40
    points = [{"x": float(x), "y": float(y)} for x in side for y in side]
    return float(np.mean((sampler.probability_above(points) > 0.5) != (np.array(f(points)) > 0)))


def found(sampler, f, budget, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(budget // 4):
        points = sampler.ask(4)
        sampler.tell(points, np.array(f(points)) + noise * rng.standard_normal(4))
    return misclassified(sampler, f)


def test_it_beats_a_sobol_sequence_with_the_same_surrogate():
    def ring(points):
        return [0.05 - abs(0.3 - np.hypot(p["x"] - 0.5, p["y"] - 0.5)) for p in points]

    errors, others = [], []
    for seed in range(3):
        errors.append(found(Boundary(UNIT2, level=0.0, seed=seed), ring, 60, 0.01, seed))
        other = Boundary(UNIT2, level=0.0, seed=seed)
        points = Sobol(UNIT2, seed=seed).ask(60)
        noise = 0.01 * np.random.default_rng(seed).standard_normal(60)
        other.tell(points, np.array(ring(points)) + noise)
        others.append(misclassified(other, ring))
    assert np.median(errors) < 0.8 * np.median(others)


def test_noise_gets_replicates_and_certainty_does_not():
    def replicates(noise):
        sampler = Boundary({"n": list(range(12))}, level=5.4, seed=0)
        rng = np.random.default_rng(0)
        for _ in range(10):
            points = sampler.ask(4)
            values = [point["n"] + noise * rng.standard_normal() for point in points]
            sampler.tell(points, values)
        told = [point["n"] for point in sampler.history.points]
        return sum(told.count(n) for n in (4, 5, 6, 7))

    # Twelve points only, so there are replicates either way: noise puts them at the boundary.
    assert replicates(3.0) > 12


@pytest.mark.parametrize("level", [-5.0, 0.3, 99.0])
def test_a_flat_landscape_or_a_level_out_of_range_is_no_trouble(level):
    sampler = Boundary(UNIT2, level=level, seed=0)
    for _ in range(8):
        points = sampler.ask(4)
        sampler.tell(points, [0.3] * 4)
    p = sampler.probability_above([{"x": 0.5, "y": 0.5}])[0]
    assert (p > 0.95) if level < 0 else (p < 0.05) if level > 1 else 0 <= p <= 1
    assert len({tuple(point.values()) for point in sampler.history.points}) > 24


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e6, 0.0), (1e-6, 0.0), (1.0, 1e4)])
def test_large_offsets_and_tiny_scales_make_no_difference(scale, offset):
    sampler = Boundary(UNIT2, level=offset, seed=0)
    for _ in range(6):
        points = sampler.ask(4)
        sampler.tell(points, [offset + scale * v for v in disc(points)])
    assert misclassified(sampler, disc) < 0.03


def test_what_is_asked_for_does_not_depend_on_the_units_of_the_values():
    def asked(scale):
        sampler, points = Boundary(UNIT2, level=0.0, seed=0), []
        for _ in range(6):
            batch = sampler.ask(4)
            sampler.tell(batch, [scale * v for v in disc(batch)])
            points += [tuple(point.values()) for point in batch]
        return points

    # A bound on variances in absolute units once made noise of those of small values.
    same = [a == b for a, b in zip(asked(1.0), asked(1e-6), strict=True)]
    assert np.mean(same) > 0.9


def test_many_measurements_are_thinned_out_and_nothing_is_asked_for_at_length():
    sampler = Boundary(UNIT2, level=0.0, seed=0)
    points = Sobol(UNIT2, seed=1).ask(900)
    sampler.tell(points, disc(points))
    points = sampler.ask(30)
    assert len({tuple(point.values()) for point in points}) == 30
    assert np.median(np.abs(disc(points))) < 0.02
    assert misclassified(sampler, disc) < 0.01


# A prior


def wavy(points):
    return [p["y"] - 0.5 - 0.2 * np.sin(20 * p["x"]) for p in points]


def off_in_a_corner(points):
    """What a simulator may say: right but for one part of the space."""
    return [
        v - 0.5 * (p["x"] > 0.7) * (p["x"] - 0.7) for v, p in zip(wavy(points), points, strict=True)
    ]


def test_a_prior_saves_measurements_and_where_it_is_wrong_it_is_overruled():
    with_prior = Boundary(UNIT2, level=0.0, seed=0, prior=off_in_a_corner)
    assert found(with_prior, wavy, 20) < 0.5 * found(Boundary(UNIT2, level=0.0), wavy, 20)
    points = [{"x": 0.95, "y": y} for y in (0.5, 0.7, 0.9)]
    truth = np.array(wavy(points)) > 0
    assert ((with_prior.probability_above(points) > 0.5) == truth).all()


@pytest.mark.parametrize("bad", [lambda p: [0.0], lambda p: [float("nan")] * len(p)])
def test_a_prior_gives_one_finite_number_for_each_point(bad):
    sampler = Boundary(UNIT2, level=0.0, prior=bad)
    sampler.tell([{"x": 0.1, "y": 0.1}] * 3, [1.0] * 3)
    with pytest.raises(DataError, match="prior"):
        sampler.probability_above([{"x": 0.5, "y": 0.5}] * 2)


def test_a_single_measurement_and_one_axis_with_one_value():
    sampler = Boundary({"n": [3]}, level=0.0)
    sampler.tell([{"n": 3}], [1.0])
    assert 0 <= sampler.probability_above([{"n": 3}])[0] <= 1
    assert sampler.ask(2) == [{"n": 3}, {"n": 3}]


def test_known_errors_count_for_what_they_are():
    def p(sd):
        sampler = Boundary({"x": (0.0, 1.0)}, level=0.0)
        points = [{"x": x} for x in (0.0, 0.25, 0.5, 0.75, 1.0)]
        sampler.tell(points, [0.3, 0.2, 0.25, 0.3, 0.2], sd=sd)
        return sampler.probability_above([{"x": 0.5}])[0]

    assert p(0.01) > 0.99
    assert p(1.0) < p(0.01)


def test_five_hundred_points_are_asked_for_at_once():
    sampler = Boundary(UNIT2, level=0.0, seed=0)
    points = sampler.ask(500)
    sampler.tell(points, disc(points))
    assert misclassified(sampler, disc) < 0.01
    assert len(sampler.ask(50)) == 50


def test_a_resumed_boundary_goes_on():
    sampler = Boundary(UNIT2, level=0.0, seed=0)
    points = Sobol(UNIT2, seed=5).ask(20)
    sampler.skip(points)
    assert len(sampler.history.pending) == 20
    sampler.tell(points, disc(points))
    assert sampler.history.pending == []
    assert found(sampler, disc, 20) < 0.03


def test_expected_doubt_is_what_simulation_says():
    rng = np.random.default_rng(0)
    for a, rho in ((0.0, 0.5), (0.7, 0.9), (2.0, 0.8), (1.3, 0.1)):
        delta = a + rho * rng.standard_normal(200_000)
        simulated = doubt(np.abs(delta) / np.sqrt(1 - rho**2)).mean()
        assert expected_doubt(np.array([a]), np.array([[rho]]))[0, 0] == pytest.approx(
            simulated, abs=0.002
        )


def test_measuring_never_adds_doubt_on_average():
    a, rho = np.meshgrid(np.linspace(0, 5, 30), np.linspace(0, 1, 30))
    assert (expected_doubt(a[0], rho) <= doubt(a) + 1e-3).all()
