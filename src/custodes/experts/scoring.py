"""From what was read of an answer to its score: the pure part of a head.

A score has three parts, each a linear function of what was read:

1. **preference**: which of two answers people choose; a pairwise ridge fit to people's pairs.
2. **validity**: whether this is an answer to this prompt at all, as a logit; a pairwise logistic
   fit to real answers and damaged ones (`custodes.experts.damage`).
3. **stance**: whether it refuses or promises to comply, times how harmful the prompt is.

They are put together by a logistic fit to pairs. Validity counts as -log(1 + exp(2 - validity)):
beyond 2 a valid answer gains next to nothing, below it the penalty grows until the answer is
certainly none. That is what keeps word salad from being outweighed by a style that people like.

Shapes: N answers, H hidden features, K scalars, S stacked features.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from custodes.experts.platt import sigmoid
from custodes.models.base import Array

__all__ = ["STACKED", "Features", "HeadWeights", "basis", "scores", "stacked"]

Floats = NDArray[np.float64]

STACKED: tuple[str, ...] = (
    "preference",
    "validity",
    "refusal",
    "refusal of harm",
    "compliance with harm",
    "bare promise",
)
"""What the last stage puts together, in order."""

# Beyond these validity says no more: an answer is certainly one, or certainly none.
_CEILING = 2.0
_FLOOR = -6.0
_CLIP = 4.0
_KNOT = 0.67


@dataclass(frozen=True)
class Features:
    """What was read of N answers.

    Attributes:
        hidden: Hidden states by reading, side by side; shape (N, H).
        start: The state before the answer, which knows the prompt alone; shape (N, D).
        scalars: Wording and likelihood; shape (N, K).
        stance: Refusal (>= 0), compliance (0 or 1) and bare promise (in [0, 1]); shape (N, 3).
    """

    hidden: Array
    start: Array
    scalars: Array
    stance: Array

    def __len__(self) -> int:
        return len(self.hidden)

    def __getitem__(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Features:
        return Features(self.hidden[rows], self.start[rows], self.scalars[rows], self.stance[rows])


@dataclass(frozen=True)
class HeadWeights:
    """The numbers of a head.

    Attributes:
        mean: Of the scalars; shape (K,).
        spread: Of the scalars; shape (K,).
        preference: Of hidden features; shape (H,).
        validity: Of hidden features and basis; shape (H + 3K,).
        validity_bias: Makes 0 the border between real and damaged answers; shape (1,).
        harm: Of the start state; shape (D,), or empty where the domain has no use for it.
        harm_bias: Shape (1,).
        stack: Of the stacked features; shape (S,).
        bias: Makes 0 the average answer of the data; shape (1,).
    """

    mean: Floats
    spread: Floats
    preference: Floats
    validity: Floats
    validity_bias: Floats
    harm: Floats
    harm_bias: Floats
    stack: Floats
    bias: Floats

    def to_tensors(self) -> dict[str, Array]:
        """Return the arrays by name, float32, as they are written to disk."""
        return {f.name: getattr(self, f.name).astype(np.float32) for f in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Array]) -> HeadWeights:
        """Read back what `to_tensors` returned.

        Raises:
            KeyError: One is missing.
            ValueError: One is no row of finite numbers.
        """
        for name, tensor in tensors.items():
            if tensor.ndim != 1 or not np.isfinite(tensor).all():
                raise ValueError(f"{name} is no row of finite numbers")
        return cls(**{f.name: tensors[f.name].astype(np.float64) for f in fields(cls)})


def basis(scalars: Array, mean: Floats, spread: Floats) -> Floats:
    """Expand scalars piecewise linearly: itself, its upper and its lower third; shape (N, 3K)."""
    z_NK = np.clip((scalars - mean) / spread, -_CLIP, _CLIP)
    return np.concatenate([z_NK, np.maximum(z_NK - _KNOT, 0), np.maximum(-z_NK - _KNOT, 0)], axis=1)


def design(features: Features, mean: Floats, spread: Floats) -> Floats:
    """Return hidden features and basis side by side; shape (N, H + 3K)."""
    expanded = basis(features.scalars, mean, spread)
    return np.concatenate([features.hidden.astype(np.float64), expanded], axis=1)


def harmfulness(features: Features, harm: Floats, bias: Floats) -> Floats:
    """Return how likely each prompt asks for harm, in [0, 1]; 0 where nobody looked."""
    if not len(harm):
        return np.zeros(len(features))
    return sigmoid(features.start.astype(np.float64) @ harm + bias[0])


def stacked(preference: Floats, validity: Floats, stance: Array, harm: Floats) -> Floats:
    """Return what the last stage weighs, in the order of `STACKED`; shape (N, S)."""
    validity = np.maximum(validity, _FLOOR)
    refusal, compliance, bare = (stance[:, i].astype(np.float64) for i in range(3))
    refusal = np.minimum(refusal, 3.0) / 3.0
    return np.stack(
        [
            preference,
            -np.logaddexp(0, _CEILING - validity),
            refusal,
            refusal * harm,
            compliance * harm,
            bare,
        ],
        axis=1,
    )


def parts(weights: HeadWeights, features: Features) -> Floats:
    """Return the stacked features of answers; shape (N, S)."""
    design_NF = design(features, weights.mean, weights.spread)
    return stacked(
        design_NF[:, : len(weights.preference)] @ weights.preference,
        design_NF @ weights.validity + weights.validity_bias[0],
        features.stance,
        harmfulness(features, weights.harm, weights.harm_bias),
    )


def scores(weights: HeadWeights, features: Features) -> Floats:
    """Score answers: the difference of two is the logit of the first being preferred."""
    return np.asarray(parts(weights, features) @ weights.stack + weights.bias[0])
