"""Accuracy by prompt and calibration of a reward model; no model in here.

Shapes: n pairs; Δ (n,) the difference of the logits of the chosen and the rejected answer; p (n,)
the probability that the chosen one is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custodes.seeds import derive
from custodes.statistics import Interval, bootstrap_mean
from custodes.training.reward.pairs import RewardPair, prompt_key

__all__ = ["Accuracy", "calibrate", "held_out_accuracy", "length_twin", "temperature"]

Floats = NDArray[np.float64]
_BINS = 10


@dataclass(frozen=True)
class Accuracy:
    """Held-out accuracy.

    Attributes:
        interval: Its mean over prompts, with the 95% interval.
        by_prompt: Accuracy of each prompt, mean over its pairs.
    """

    interval: Interval
    by_prompt: dict[str, float]


def held_out_accuracy(difference: Floats, p: Floats, prompts: Sequence[str]) -> Accuracy:
    """Return the share of pairs whose difference has the label's sign; a tie is half right.

    Undecided pairs (p = 0.5) do not count.
    """
    rows: dict[str, list[float]] = {}
    for d, label, prompt in zip(difference, p, prompts, strict=True):
        if label != 0.5:
            rows.setdefault(prompt, []).append(0.5 if d == 0 else float((d > 0) == (label > 0.5)))
    by_prompt = {prompt: float(np.mean(values)) for prompt, values in sorted(rows.items())}
    values = list(by_prompt.values())
    interval = bootstrap_mean(values) if values else Interval(0.5, -np.inf, np.inf, 0)
    return Accuracy(interval, by_prompt)


def length_twin(train: Sequence[RewardPair], test: Sequence[RewardPair]) -> Accuracy:
    """Return the held-out accuracy of length alone; training pairs say whether longer wins."""
    lengths = np.array([len(p.chosen) - len(p.rejected) for p in train], float)
    labels = np.array([2 * p.probability - 1 for p in train])
    sign = 1.0 if float((np.sign(lengths) * labels).sum()) >= 0 else -1.0
    return held_out_accuracy(
        sign * np.array([len(p.chosen) - len(p.rejected) for p in test], float),
        np.array([p.probability for p in test]),
        [prompt_key(p) for p in test],
    )


def temperature(difference: Floats, p: Floats) -> float:
    """Return the T that makes σ(Δ / T) likeliest, between 0.01 and 100.

    Labels are drawn in by half an observation (Platt 1999): pairs that are all right would have it
    at 0.
    """
    grid = np.geomspace(0.01, 100, 369)
    drawn_in = (p * len(p) + 0.5) / (len(p) + 1)
    losses = [_nll(difference / t, drawn_in) for t in grid]
    return float(grid[int(np.argmin(losses))])


def _nll(logits: Floats, p: Floats) -> float:
    return float(np.mean(p * np.logaddexp(0, -logits) + (1 - p) * np.logaddexp(0, logits)))


def calibrate(difference: Floats, p: Floats, prompts: Sequence[str], seed: int) -> dict[str, Any]:
    """Measure how far σ(Δ) is from the share of right answers.

    Returns:
        ``ece`` as it is; ``ece_scaled``, each half of the prompts with the temperature of the
        other; ``temperature`` of all; ``table``: confidence, accuracy and count of each bin.
    """
    names = sorted(set(prompts))
    order = np.random.default_rng(derive(seed, "calibration")).permutation(len(names))
    first = {names[int(i)] for i in order[: len(names) // 2]}
    half = np.array([prompt in first for prompt in prompts])
    scaled = difference.copy()
    for side in (half, ~half):
        if side.any() and (~side).any():
            scaled[side] = difference[side] / temperature(difference[~side], p[~side])
    table = _reliability(difference, p)
    return {
        "ece": round(_ece(table), 5),
        "ece_scaled": round(_ece(_reliability(scaled, p)), 5),
        "temperature": round(temperature(difference, p), 5),
        "table": table,
    }


def _reliability(logits: Floats, p: Floats) -> list[dict[str, float]]:
    """Bin pairs by confidence in the answer that the model prefers, in [0.5, 1]."""
    confidence = 1 / (1 + np.exp(-np.abs(logits)))
    right = np.where(logits == 0, 0.5, np.where(logits > 0, p, 1 - p))
    bins = np.minimum(((confidence - 0.5) * 2 * _BINS).astype(int), _BINS - 1)
    return [
        {
            "confidence": round(float(confidence[bins == b].mean()), 5),
            "accuracy": round(float(right[bins == b].mean()), 5),
            "pairs": int((bins == b).sum()),
        }
        for b in range(_BINS)
        if (bins == b).any()
    ]


def _ece(table: Sequence[dict[str, float]]) -> float:
    total = sum(row["pairs"] for row in table)
    return sum(row["pairs"] * abs(row["confidence"] - row["accuracy"]) for row in table) / total
