"""Concepts inside a model: do the hidden states that stand for them move apart or together?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from custodes.conversation import user_chat
from custodes.data import shipped_concepts
from custodes.errors import DataError
from custodes.models.base import ScoringModel

__all__ = ["ConceptShift", "concept_shifts", "hidden_means", "read_concepts"]

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


def read_concepts(source: str) -> dict[str, list[str]]:
    """Read named concepts and their sentences.

    Args:
        source: A YAML file that maps names to lists of sentences; "shipped"; or "none".

    Returns:
        By name, three sentences or more each; empty for "none".

    Raises:
        DataError: The file cannot be read or is of another shape.
    """
    if source == "none":
        return {}
    path = shipped_concepts() if source == "shipped" else Path(source)
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(
            f"cannot read concepts from {source}", "name a YAML file, shipped, or none"
        ) from error
    fits = isinstance(found, dict) and all(
        isinstance(said, list) and all(isinstance(x, str) and x.strip() for x in said)
        for said in found.values()
    )
    if not fits or len(found) < 2:
        raise DataError(
            f"{source} holds no concepts", "map two names or more to lists of sentences"
        )
    for name, said in found.items():
        _check_size(str(name), said)
    return {str(name): said for name, said in found.items()}


def _check_size(name: str, said: Sequence[str]) -> None:
    if len(said) < FEWEST:
        raise DataError(f"concept {name!r} has {len(said)} sentences", f"give it {FEWEST} or more")


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
        _check_size(name, said)
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
    means_before, means_now = (
        {name: _resampled(x, draws[name]) for name, x in side.items()} for side in (before, now)
    )
    pairs = list(combinations(before, 2))
    tail = 0.05 / 2 / max(len(pairs), 1)
    shifts = []
    for one, two in pairs:
        old, new = (
            _distance(side[one].mean(axis=0), side[two].mean(axis=0)) for side in (before, now)
        )
        resampled = [_distances(means[one], means[two]) for means in (means_before, means_now)]
        change = resampled[1] - resampled[0]
        low, high = np.quantile(change, [tail, 1 - tail])
        shifts.append(ConceptShift((one, two), old, new, float(low), float(high)))
    return sorted(shifts, key=lambda s: -abs(s.now - s.before))


def _resampled(states: Floats, draws: NDArray[np.int64]) -> Floats:
    """Return the means of resampled sentences, shape (resamples, d)."""
    weights = np.zeros((len(draws), len(states)))
    np.add.at(weights, (np.arange(len(draws))[:, None], draws), 1 / len(states))
    return weights @ states


def _distances(x: Floats, y: Floats) -> Floats:
    """Return cosine distances row by row."""
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    out: Floats = 1 - (x * y).sum(axis=1) / np.maximum(norms, 1e-12)
    return out


def _distance(x: Floats, y: Floats) -> float:
    norms = float(np.linalg.norm(x)) * float(np.linalg.norm(y))
    return float(1 - x @ y / max(norms, 1e-12))
