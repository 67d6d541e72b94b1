"""Calibration of heads: the curve, and the measures that say how far to trust it."""

from __future__ import annotations

import numpy as np
import pytest

from custodes.experts.heads.platt import (
    Platt,
    brier_score,
    calibration_error,
    pairwise_scale,
    sigmoid,
)

RNG = np.random.default_rng(0)


def test_platt_finds_the_curve_that_labels_were_drawn_from() -> None:
    scores = RNG.normal(size=20_000)
    chosen = RNG.random(20_000) < sigmoid(1.7 * scores - 0.4)

    platt = Platt.fit(scores[chosen], scores[~chosen])

    assert platt.slope == pytest.approx(1.7, abs=0.1)
    assert platt.offset == pytest.approx(-0.4, abs=0.1)


def newton(x_NF: np.ndarray, label_N: np.ndarray) -> np.ndarray:
    """Logistic regression by plain Newton steps with the same weak ridge, written out."""
    spread_F = np.abs(x_NF).mean(axis=0)
    x_NF = x_NF / spread_F
    ridge_FF = np.eye(x_NF.shape[1]) * 1e-3
    weight_F = np.zeros(x_NF.shape[1])
    for _ in range(50):
        p_N = 1 / (1 + np.exp(-x_NF @ weight_F))
        gradient_F = x_NF.T @ (label_N - p_N) - ridge_FF @ weight_F
        hessian_FF = (x_NF * (p_N * (1 - p_N))[:, None]).T @ x_NF + ridge_FF
        weight_F = weight_F + np.linalg.solve(hessian_FF, gradient_F)
    return np.asarray(weight_F / spread_F)


@pytest.mark.parametrize(("n", "unit"), [(60, 1.0), (400, 0.01), (5000, 100.0)])
def test_slopes_are_those_of_newtons_method_to_three_digits(n: int, unit: float) -> None:
    rng = np.random.default_rng(n)
    chosen, rejected = unit * rng.normal(0.6, 1, n), unit * rng.normal(-0.6, 1, n)
    scores, labels = np.concatenate([chosen, rejected]), np.repeat([1.0, 0.0], n)

    slope, offset = newton(np.stack([scores, np.ones_like(scores)], axis=1), labels)
    platt = Platt.fit(chosen, rejected)
    assert platt.slope == pytest.approx(slope, rel=5e-4)
    assert platt.offset == pytest.approx(offset, abs=1e-3)

    margins = chosen - rejected
    both = np.concatenate([margins, -margins])[:, None]
    assert pairwise_scale(margins) == pytest.approx(newton(both, labels)[0], rel=5e-4)


def test_platt_never_falls() -> None:
    assert Platt.fit(np.array([-1.0, -2.0, 0.0]), np.array([1.0, 2.0, 0.5])) == Platt(0.0, 0.0)


def test_platt_stays_finite_on_separable_scores() -> None:
    platt = Platt.fit(np.array([10.0, 11.0, 12.0]), np.array([-10.0, -11.0, -9.0]))

    assert np.isfinite(platt.slope)
    assert 0.99 < float(platt(11.0)) <= 1


def test_pairwise_scale_makes_margins_logits() -> None:
    logits = RNG.normal(size=20_000) * 1.5
    preferred = np.where(RNG.random(20_000) < sigmoid(logits), 1, -1)

    assert pairwise_scale(preferred * logits / 3) == pytest.approx(3, abs=0.15)


def test_pairwise_scale_of_margins_that_run_backwards_is_zero() -> None:
    assert pairwise_scale(np.array([-1.0, -2.0, -0.5])) == 0


def test_sigmoid_is_safe_far_out() -> None:
    assert sigmoid(np.array([-1e6, 0.0, 1e6])).tolist() == [0.0, 0.5, 1.0]


def test_calibration_error_is_small_only_for_probabilities_that_hold() -> None:
    p = RNG.random(50_000)
    label = (RNG.random(50_000) < p).astype(float)

    assert calibration_error(p, label) < 0.01
    assert calibration_error(np.where(p > 0.5, 0.99, 0.01), label) > 0.2
    assert calibration_error(1 - p, label) > 0.4


def test_brier_score_of_a_coin_is_a_quarter() -> None:
    assert brier_score(np.full(4, 0.5), np.array([0.0, 1.0, 1.0, 0.0])) == 0.25
