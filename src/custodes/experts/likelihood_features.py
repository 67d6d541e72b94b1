"""What a frozen language model's log-probabilities say of an answer.

Given the prompt they tell language from noise, and an ended answer from one that was cut off. Their
difference from the log-probabilities without the prompt tells an answer to this prompt from an
answer to another one: it is the answer's pointwise mutual information with the prompt, for each
token.
"""

from __future__ import annotations

import numpy as np

from custodes.models.base import Array
from custodes.models.exchange import ALONE_TOKENS, Exchanges

__all__ = ["LIKELIHOOD_FEATURES", "likelihood_features"]

LIKELIHOOD_FEATURES: tuple[str, ...] = (
    "log-likelihood",
    "spread",
    "low tenth",
    "unlikely tokens",
    "first tokens",
    "last tokens",
    "without prompt",
    "gain",
    "gain at first",
    "gain spread",
    "gain at best",
    "end",
    "tokens",
)
"""Names, in the order of the columns. Log-likelihoods are means in nats per token."""

_UNLIKELY = -7.0
_FEW = 6


def likelihood_features(read: Exchanges) -> Array:
    """Summarise log-probabilities; shape (N, len(LIKELIHOOD_FEATURES))."""
    rows = [
        _summary(given, alone, float(end), float(tokens))
        for given, alone, end, tokens in zip(
            read.given, read.alone, read.end_given, read.tokens, strict=True
        )
    ]
    return np.array(rows, np.float32).reshape(len(rows), len(LIKELIHOOD_FEATURES))


def _summary(given: Array, alone: Array, end: float, tokens: float) -> list[float]:
    if not len(given):
        return [0.0] * (len(LIKELIHOOD_FEATURES) - 2) + [end, 0.0]
    gain = given[:ALONE_TOKENS] - alone
    return [
        float(given.mean()),
        float(given.std()),
        float(np.quantile(given, 0.1)),
        float((given < _UNLIKELY).mean()),
        float(given[:_FEW].mean()),
        float(given[-_FEW:].mean()),
        float(alone.mean()),
        float(gain.mean()),
        float(gain[:_FEW].mean()),
        float(gain.std()),
        float(np.sort(gain)[-3:].mean()),
        max(end, -15.0),
        float(np.log1p(tokens)),
    ]
