"""Pairs whose order nobody doubts: a control for every Expert, whatever it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Protocol

from custodes.control import Control
from custodes.conversation import PreferencePair, Query
from custodes.data.datasets import read_pairs
from custodes.errors import DataError
from custodes.experts.expert import Rating

__all__ = ["SANITY_FLOOR", "sanity_control", "sanity_pairs"]

SANITY_FLOOR = 0.8
"""Share of the pairs that an Expert must order as they are."""

_MOST_ABSTENTIONS = 0.25
_FOLDER = Path(__file__).parents[1] / "data" / "experts"


class Rater(Protocol):
    """What is needed of an Expert."""

    name: str
    domain: str

    def rate(self, queries: Sequence[Query], responses: Sequence[str]) -> list[Rating]:
        """Rate ``responses[i]`` as an answer to ``queries[i]``."""
        ...


def sanity_pairs(domain: str) -> list[PreferencePair]:
    """Read the shipped pairs of a domain: written by hand, and part of no fit.

    Raises:
        DataError: The domain has none.
    """
    path = _FOLDER / f"sanity_{domain}.jsonl"
    if not path.is_file():
        raise DataError(f"no pairs that nobody doubts ship for the domain {domain}")
    return read_pairs(path)


def sanity_control(
    expert: Rater, pairs: Sequence[PreferencePair] | None = None, *, floor: float = SANITY_FLOOR
) -> Control:
    """Check that an Expert orders pairs that nobody doubts.

    An Expert whose sign is flipped, whose labels were swapped, or that answers by chance, by
    position or with a constant fails. Both answers of a pair are rated in one batch, the better one
    first in half of the pairs, so that position cannot decide.

    Args:
        expert: The Expert.
        pairs: The pairs; the shipped ones of its domain by default.
        floor: Share of pairs that must be in order; ties count half.

    Returns:
        The control. It is not tested where the Expert abstains on more than a quarter of the pairs.
    """
    name = f"orders pairs that nobody doubts: {expert.name}"
    pairs = sanity_pairs(expert.domain) if pairs is None else pairs
    queries, texts = list[Query](), list[str]()
    for i, pair in enumerate(pairs):
        both = (pair.chosen, pair.rejected)
        for text in both if i % 2 == 0 else both[::-1]:
            queries.append(Query(f"{pair.id}-{len(texts)}", pair.prompt, expert.domain))
            texts.append(text)
    values = [rating.value for rating in expert.rate(queries, texts)]
    right, wrong, compared = 0.0, list[str](), 0
    for i, pair in enumerate(pairs):
        first, second = values[2 * i], values[2 * i + 1]
        if first is None or second is None:
            continue
        compared += 1
        margin = (first - second) * (1 if i % 2 == 0 else -1)
        right += 1.0 if margin > 0 else 0.5 if margin == 0 else 0.0
        if margin <= 0:
            wrong.append(pair.id)
    if compared < (1 - _MOST_ABSTENTIONS) * len(pairs) or not compared:
        return Control.not_tested(
            name, f"it abstained on {len(pairs) - compared} of {len(pairs)} pairs"
        )
    share = right / compared
    chance = NormalDist(0, 0.5 / compared**0.5).cdf(0.5 - share)
    return Control(
        name,
        share >= floor,
        f"rates the better answer higher in {right:g} of {compared} pairs (must be {floor:.0%}; "
        f"by chance alone p = {chance:.2g})",
        {"right": right, "pairs": compared, "share": share, "floor": floor, "wrong": wrong},
    )
