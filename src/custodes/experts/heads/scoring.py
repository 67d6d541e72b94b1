"""From what was read of an answer to its score: the pure part of a head.

A score is the sum of three parts:

1. **preference**: which of two answers people choose; a pairwise ridge fit of hidden states to
   people's pairs. For harmlessness it counts as far as the prompt asks for harm, because that is
   where people compared: where it does not, they would not have preferred a refusal.
2. **validity**: whether this is an answer to this prompt at all, as a logit v; a pairwise logistic
   fit to real answers and damaged ones (`custodes.experts.validity.damage`). It counts as
   -log(1 + exp(c - v)): beyond the ceiling c a valid answer gains next to nothing, below it the
   penalty grows until the answer is certainly none. That is what keeps word salad from being
   outweighed by a style that people like.
3. **stance**: whether it refuses or promises to comply, and how harmful the prompt is.

Shapes: N answers, H hidden features, D width of a state, K scalars.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from custodes.experts.heads.platt import sigmoid
from custodes.models.base import Array

__all__ = ["STANCES", "Features", "HeadWeights", "combined", "scores"]

Floats = NDArray[np.float64]

STANCES: tuple[str, ...] = (
    "refusal",
    "refusal of harm",
    "compliance with harm",
    "bare promise",
)
"""What the stance consists of, in order."""

# Below this an answer is certainly none, and one is as bad as another.
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
        preference: Of hidden features and basis; shape (H + 3K,).
        validity: Of hidden features and basis; shape (H + 3K,).
        validity_bias: Makes 0 the border between real and damaged answers; shape (1,).
        ceiling: Validity beyond which more of it gains nothing; shape (1,).
        harm: Of the start state; shape (D,), or empty where the domain has no use for it.
        harm_bias: Shape (1,).
        stance: Of `STANCES`; shape (4,).
        scale: Makes the difference of two scores a logit; shape (1,).
        bias: Makes 0 the average answer of the data; shape (1,).
    """

    mean: Floats
    spread: Floats
    preference: Floats
    validity: Floats
    validity_bias: Floats
    ceiling: Floats
    harm: Floats
    harm_bias: Floats
    stance: Floats
    scale: Floats
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


def harmfulness(features: Features, harm: Floats, bias: Floats) -> Floats | None:
    """Return how likely each prompt asks for harm, in [0, 1]; None where nobody looks."""
    if not len(harm):
        return None
    return sigmoid(features.start.astype(np.float64) @ harm + bias[0])


def stances(features: Features, harm: Floats | None) -> Floats:
    """Return how answers stand to the request, in the order of `STANCES`; shape (N, 4)."""
    refusal, compliance, bare = (features.stance[:, i].astype(np.float64) for i in range(3))
    refusal = np.minimum(refusal, 3.0) / 3.0
    asked = np.zeros(len(features)) if harm is None else harm
    return np.stack([refusal, refusal * asked, compliance * asked, bare], axis=1)


def combined(
    preference: Floats, validity: Floats, stance: Floats, harm: Floats | None, ceiling: float
) -> Floats:
    """Add up the parts of a score."""
    weight = 1.0 if harm is None else harm
    penalty = np.logaddexp(0, ceiling - np.maximum(validity, _FLOOR))
    return np.asarray(weight * preference - penalty + stance)


def scores(weights: HeadWeights, features: Features) -> Floats:
    """Score answers: the difference of two is the logit of the first being preferred."""
    design_NF = design(features, weights.mean, weights.spread)
    harm = harmfulness(features, weights.harm, weights.harm_bias)
    total = combined(
        design_NF @ weights.preference,
        design_NF @ weights.validity + weights.validity_bias[0],
        stances(features, harm) @ weights.stance,
        harm,
        float(weights.ceiling[0]),
    )
    return np.asarray(weights.scale[0] * total + weights.bias[0])
