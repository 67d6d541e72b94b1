"""From raw scores to probabilities, and how far the probabilities can be trusted.

Platt, "Probabilistic outputs for support vector machines" (1999): a logistic curve, fitted to
scores that the head gave to answers it was not fitted on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Platt", "brier_score", "calibration_error", "pairwise_scale", "sigmoid"]

Floats = NDArray[np.float64]

PENALTY = 1e-3
"""Ridge on the slope, in units of the loss of one answer."""


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
        slope, offset = _logistic(scores, labels, intercept=True)
        return Platt(slope, offset) if slope > 0 else Platt(0.0, 0.0)


def sigmoid(x: Floats) -> Floats:
    """Logistic function, safe for large |x|."""
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))


def pairwise_scale(margin_N: Floats) -> float:
    """Fit s so that sigmoid(s * margin) is the probability that the first of two is preferred.

    Margins that run the wrong way get 0.
    """
    # Each pair seen from both sides; without that there is only one label.
    both = np.concatenate([margin_N, -margin_N])
    labels = np.repeat([1.0, 0.0], len(margin_N))
    return max(0.0, _logistic(both, labels, intercept=False)[0])


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


def _logistic(x_N: Floats, label_N: Floats, *, intercept: bool) -> tuple[float, float]:
    """Fit logistic regression; a weak penalty keeps the slope of separable data finite.

    Returns:
        Slope per unit of ``x_N``, and intercept (0 without one).
    """
    from sklearn.linear_model import LogisticRegression

    # The penalty is on the slope of scaled scores: it must not depend on their unit.
    spread = max(float(np.abs(x_N).mean()), 1e-12)
    model = LogisticRegression(C=1 / PENALTY, fit_intercept=intercept, tol=1e-8, max_iter=1000)
    model.fit((x_N / spread)[:, None], label_N)
    return float(model.coef_[0, 0]) / spread, float(np.ravel(model.intercept_)[0])
