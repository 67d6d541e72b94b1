"""Concepts inside a model: do the hidden states that stand for them move apart or together?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from custodes.errors import DataError
from custodes.models.base import ScoringModel, user_chat

__all__ = ["ConceptShift", "concept_shifts", "hidden_means"]

Floats = NDArray[np.float64]
RESAMPLES = 1000
FEWEST = 3


@dataclass(frozen=True)
class ConceptShift:
    """How the distance between two concepts changed.

    Attributes:
        pair: Their names.
        before: Cosine distance of their mean hidden states in the first model.
        now: The same in the later model.
        low: Lower end of the change's 95% band under resampled sentences.
        high: Upper end.
    """

    pair: tuple[str, str]
    before: float
    now: float
    low: float
    high: float

    @property
    def drifted(self) -> bool:
        """Whether the band excludes no change."""
        return not self.low <= 0 <= self.high


def hidden_means(
    model: ScoringModel, concepts: Mapping[str, Sequence[str]], layer: int
) -> dict[str, Floats]:
    """Read each sentence's mean hidden state at a layer.

    Args:
        model: Whose inside to read.
        concepts: Sentences about each concept, by its name.
        layer: Index into the hidden states; 0 is the embedding.

    Returns:
        Shape (sentences, d), by concept.

    Raises:
        DataError: A concept has too few sentences to resample.
    """
    for name, said in concepts.items():
        if len(said) < FEWEST:
            raise DataError(
                f"concept {name!r} has {len(said)} sentences", f"give it {FEWEST} or more"
            )
    chats = [user_chat(sentence) for said in concepts.values() for sentence in said]
    states = np.asarray(model.hidden(chats, [layer])[:, 0, 0], np.float64)
    ends = np.cumsum([len(said) for said in concepts.values()])
    parts = np.split(states, ends[:-1])
    return dict(zip(concepts, parts, strict=True))


def concept_shifts(
    before: Mapping[str, Floats], now: Mapping[str, Floats], seed: int = 0
) -> list[ConceptShift]:
    """Compare the distances between concepts in two models that read the same sentences.

    The band resamples sentences, the same ones in both models: it says how far the change
    depends on which sentences were taken for the concept. Bonferroni over the pairs.

    Args:
        before: Hidden states of the first model, (sentences, d) by concept.
        now: Those of the later one.
        seed: Of the resampling.

    Returns:
        One for each pair of concepts, the largest change first.
    """
    rng = np.random.default_rng(seed)
    draws = {name: rng.integers(0, len(x), (RESAMPLES, len(x))) for name, x in before.items()}
    pairs = list(combinations(before, 2))
    tail = 0.05 / 2 / max(len(pairs), 1)
    shifts = []
    for one, two in pairs:
        old, new = (
            _distance(side[one].mean(axis=0), side[two].mean(axis=0)) for side in (before, now)
        )
        drawn = list(zip(draws[one], draws[two], strict=True))
        resampled = [
            np.array(
                [_distance(side[one][i].mean(axis=0), side[two][j].mean(axis=0)) for i, j in drawn]
            )
            for side in (before, now)
        ]
        change = resampled[1] - resampled[0]
        low, high = np.quantile(change, [tail, 1 - tail])
        shifts.append(ConceptShift((one, two), old, new, float(low), float(high)))
    return sorted(shifts, key=lambda s: -abs(s.now - s.before))


def _distance(x: Floats, y: Floats) -> float:
    norms = float(np.linalg.norm(x)) * float(np.linalg.norm(y))
    return float(1 - x @ y / max(norms, 1e-12))
