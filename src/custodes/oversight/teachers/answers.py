"""The Worker's own answers, several to a query, ranked by the domain's Expert."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from custodes.conversation import PreferencePair, Query
from custodes.experts.abstention import require_some
from custodes.experts.expert import Expert, Rating

__all__ = ["draw", "draw_agreed", "rate_answers"]

T = TypeVar("T")


def draw(items: Sequence[T], count: int, seed: int) -> list[T]:
    """Draw without replacement; all items, in random order, where there are too few."""
    order = np.random.default_rng(seed).permutation(len(items))
    return [items[i] for i in order[:count]]


def draw_agreed(pairs: Sequence[PreferencePair], count: int, seed: int) -> list[PreferencePair]:
    """Draw pairs in random order, and keep each with the probability ``2 * agreement - 1``.

    That is the share of annotators that are for its order, less the share against it: in
    expectation a pair weighs as much in training as its annotators agree, and one on which they
    are split does not count.

    Args:
        pairs: The pairs; agreement in (0, 1].
        count: How many to draw; all that are kept, where they are fewer.
        seed: Draws.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pairs))
    luck = rng.random(len(pairs))
    kept = [pairs[i] for i in order if luck[i] < 2 * pairs[i].agreement - 1]
    return kept[:count]


def rate_answers(
    expert: Expert, queries: Sequence[Query], answers: Sequence[Sequence[str]]
) -> list[list[Rating]]:
    """Have an Expert rate several answers to each query, in one batch.

    Args:
        expert: The domain's Expert.
        queries: n queries.
        answers: n lists of answers.

    Raises:
        CustodesError: The Expert abstained on all of them.
    """
    flat = [(query, text) for query, texts in zip(queries, answers, strict=True) for text in texts]
    ratings = expert.rate([query for query, _ in flat], [text for _, text in flat])
    require_some(expert, ratings)
    remaining = iter(ratings)
    return [[next(remaining) for _ in texts] for texts in answers]
