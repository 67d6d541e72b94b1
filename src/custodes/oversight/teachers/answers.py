"""The Worker's own answers, several to a query, ranked by the domain's Expert."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from custodes.conversation import Query
from custodes.experts.abstention import require_some
from custodes.experts.expert import Expert, Rating

__all__ = ["draw", "rate_answers"]

T = TypeVar("T")


def draw(items: Sequence[T], count: int, seed: int) -> list[T]:
    """Draw without replacement; all items, in random order, where there are too few."""
    order = np.random.default_rng(seed).permutation(len(items))
    return [items[i] for i in order[:count]]


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
