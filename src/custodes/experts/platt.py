"""From raw scores to probabilities, and how far the probabilities can be trusted.

Platt, "Probabilistic outputs for support vector machines" (1999): a logistic curve, fitted to
scores that the head gave to answers it was not fitted on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Platt", "brier_score", "calibration_error", "logistic", "pairwise_scale", "sigmoid"]

Floats = NDArray[np.float64]

_STEPS = 50


@dataclass(frozen=True)
class Platt:
    """A rising logistic curve from scores to (0, 1).

    Attributes:
        slope: Per unit of score, >= 0.
        offset: At score 0.
    """

    slope: float
    offset: float

    def __call__(self, scores: ArrayLike) -> Floats:
        """Map scores to probabilities."""
        return sigmoid(self.slope * np.asarray(scores, np.float64) + self.offset)

    @staticmethod
    def fit(chosen_N: Floats, rejected_N: Floats) -> Platt:
        """Fit the probability that an answer of a score is one that was chosen over another.

        Scores that run the wrong way get a flat curve, never a falling one.
        """
        scores = np.concatenate([chosen_N, rejected_N])
        labels = np.repeat([1.0, 0.0], [len(chosen_N), len(rejected_N)])
        slope, offset = logistic(np.stack([scores, np.ones_like(scores)], axis=1), labels)
        return Platt(slope, offset) if slope > 0 else Platt(0.0, 0.0)


def sigmoid(x: Floats) -> Floats:
    """Logistic function, safe for large |x|."""
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))


def pairwise_scale(margin_N: Floats) -> float:
    """Fit s so that sigmoid(s * margin) is the probability that the first of two is preferred.

    Margins that run the wrong way get 0.
    """
    # Each pair seen from both sides; without that there is only one label.
    both = np.concatenate([margin_N, -margin_N])[:, None]
    labels = np.repeat([1.0, 0.0], len(margin_N))
    return max(0.0, logistic(both, labels)[0])


def brier_score(probability: Floats, label: Floats) -> float:
    """Mean squared error of probabilities; 0.25 is what a constant 0.5 gets."""
    return float(np.mean((probability - label) ** 2))


def calibration_error(probability: Floats, label: Floats, bins: int = 10) -> float:
    """Expected calibration error over bins of equal count, in [0, 1].

    Guo et al., "On calibration of modern neural networks" (2017), with equal counts instead of
    equal widths, so that no bin is empty.
    """
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [abs(probability[part].mean() - label[part].mean()) * len(part) for part in parts]
    return float(sum(gaps) / len(order))


def logistic(
    x_NF: Floats, label_N: Floats, weight_N: Floats | None = None, *, ridge: float = 1e-3
) -> list[float]:
    """Fit logistic regression by Newton steps.

    Args:
        x_NF: Features; add a column of ones for an intercept.
        label_N: 1 or 0.
        weight_N: How much each row counts; 1 each by default.
        ridge: Strength of the penalty on the weights, in units of the features' mean absolute
            value; a trace of it keeps separable data finite.
    """
    weight_N = np.ones(len(label_N)) if weight_N is None else weight_N
    spread_F = np.maximum(np.abs(x_NF).mean(axis=0), 1e-12)
    x_NF = x_NF / spread_F
    penalty_FF = np.eye(x_NF.shape[1]) * ridge
    weight_F = np.zeros(x_NF.shape[1])
    for _ in range(_STEPS):
        p_N = sigmoid(x_NF @ weight_F)
        slope_F = x_NF.T @ (weight_N * (label_N - p_N)) - penalty_FF @ weight_F
        curve_FF = (x_NF * (weight_N * p_N * (1 - p_N))[:, None]).T @ x_NF + penalty_FF
        step_F = np.linalg.solve(curve_FF, slope_F)
        # A step of more than a few units overshoots where the curve is flat.
        weight_F = weight_F + step_F / max(1.0, float(np.abs(step_F).max()) / 4)
        if np.abs(step_F).max() < 1e-10:
            break
    return [float(w) for w in weight_F / spread_F]
