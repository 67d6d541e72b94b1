"""Indicators: for each behaviour, which of the responses show it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["Indicator", "Indicators", "from_masks", "join", "without_duplicates", "word_pattern"]


@dataclass(frozen=True)
class Indicator:
    """A behaviour that a response shows or does not show.

    Attributes:
        kind: Kind of the findings about it: feature, phrase, cluster or llm.
        family: Name of the group of hypotheses with which it shares a part of the error budget.
        statement: What such a response does, as the end of a sentence ("apologises").
        pattern: Regular expression that matches the evidence in a response, for highlighting; ""
            if no part of the response is the evidence.
        generic: Whether very different changes may move it, such as the length of responses.
    """

    kind: str
    family: str
    statement: str
    pattern: str = ""
    generic: bool = False


def word_pattern(entries: Sequence[str], start: bool = False, end: bool = False) -> str:
    """Return a pattern that matches words or phrases in any spacing and capitalisation.

    >>> bool(re.search(word_pattern(["so , what"]), "And so, what?"))
    True
    """
    spaced = [r"\s*".join(map(re.escape, entry.split(" "))) for entry in entries]
    inner = "|".join(
        ("" if start else r"(?<!\w)" if entry[:1].isalnum() else "")
        + pattern
        + ("" if end else r"(?!\w)" if entry[-1:].isalnum() else "")
        for entry, pattern in zip(entries, spaced, strict=True)
    )
    return (r"(?i)\A\s*" if start else "(?i)") + f"(?:{inner})" + (r"\s*\Z" if end else "")


@dataclass(frozen=True)
class Indicators:
    """Several behaviours over one list of responses.

    Attributes:
        items: The behaviours, one for each column of ``shows``.
        shows: 1 where a response shows the behaviour, CSC, shape (responses, behaviours).
    """

    items: tuple[Indicator, ...]
    shows: sparse.csc_matrix

    def take(self, indices: NDArray[np.intp]) -> Indicators:
        """Return the indicators at the given places, in that order."""
        return Indicators(tuple(self.items[i] for i in indices), self.shows[:, indices])


def from_masks(
    indicators: Sequence[Indicator], masks: Sequence[NDArray[np.bool_]], n: int
) -> Indicators:
    """Make indicators of boolean arrays, each of shape (n,), where n is the number of responses."""
    rows = [np.flatnonzero(mask) for mask in masks]
    indptr = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
    indices = np.concatenate([*rows, np.empty(0, np.intp)])
    shows = sparse.csc_matrix(
        (np.ones(len(indices), np.float32), indices, indptr), shape=(n, len(rows))
    )
    return Indicators(tuple(indicators), shows)


def join(parts: Sequence[Indicators]) -> Indicators:
    """Concatenate indicators over the same responses."""
    return Indicators(
        tuple(item for part in parts for item in part.items),
        sparse.hstack([part.shows for part in parts], format="csc", dtype=np.float32),
    )


def without_duplicates(indicators: Indicators, seed: int = 0) -> Indicators:
    """Of several indicators that the same responses show, keep the first.

    These data cannot tell such indicators apart, and to test both would only spend error budget.
    Equality is checked by the 64-bit sum of the responses' random codes.
    """
    shows = indicators.shows
    codes = np.random.default_rng(seed).integers(0, 2**63, shows.shape[0], dtype=np.uint64)
    sums = np.concatenate([[np.uint64(0)], np.cumsum(codes[shows.indices], dtype=np.uint64)])
    key = sums[shows.indptr[1:]] - sums[shows.indptr[:-1]]
    _, first = np.unique(key, return_index=True)
    return indicators.take(np.sort(first))
