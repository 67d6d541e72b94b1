"""Behaviours as columns: which of the responses show each of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["Column", "Columns", "from_masks", "join", "without_duplicates", "word_pattern"]


@dataclass(frozen=True)
class Column:
    """One behaviour that a response shows or does not.

    Attributes:
        kind: What a finding on it is called: feature, phrase, cluster or llm.
        family: Hypotheses that share one part of the error budget.
        statement: What such a response does, as the end of a sentence ("apologises").
        pattern: Regular expression of what shows it, for highlighting; "" where nothing in
            particular does.
    """

    kind: str
    family: str
    statement: str
    pattern: str = ""


def word_pattern(entries: Sequence[str], start: bool = False, end: bool = False) -> str:
    """Return a pattern of words or phrases, however they are spaced and capitalised.

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
class Columns:
    """Columns over one list of responses.

    Attributes:
        columns: What each column means.
        shows: 1 where a response shows the behaviour, CSC, shape (responses, columns).
    """

    columns: tuple[Column, ...]
    shows: sparse.csc_matrix

    def take(self, indices: NDArray[np.intp]) -> Columns:
        """Return some of the columns, in the order asked for."""
        return Columns(tuple(self.columns[i] for i in indices), self.shows[:, indices])


def from_masks(columns: Sequence[Column], masks: Sequence[NDArray[np.bool_]], n: int) -> Columns:
    """Make columns of boolean arrays, each of shape (n,), n being the number of responses."""
    rows = [np.flatnonzero(mask) for mask in masks]
    indptr = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
    indices = np.concatenate([*rows, np.empty(0, np.intp)])
    shows = sparse.csc_matrix(
        (np.ones(len(indices), np.float32), indices, indptr), shape=(n, len(rows))
    )
    return Columns(tuple(columns), shows)


def join(parts: Sequence[Columns]) -> Columns:
    """Put columns over the same responses side by side."""
    return Columns(
        tuple(column for part in parts for column in part.columns),
        sparse.hstack([part.shows for part in parts], format="csc", dtype=np.float32),
    )


def without_duplicates(columns: Columns, seed: int = 0) -> Columns:
    """Keep the first of several columns that the same responses show.

    Two columns are one hypothesis if no data here could tell them apart; testing both would
    only spend error budget. The comparison is by a 64-bit sum of random response codes.
    """
    shows = columns.shows
    codes = np.random.default_rng(seed).integers(0, 2**63, shows.shape[0], dtype=np.uint64)
    sums = np.concatenate([[np.uint64(0)], np.cumsum(codes[shows.indices], dtype=np.uint64)])
    key = sums[shows.indptr[1:]] - sums[shows.indptr[:-1]]
    _, first = np.unique(key, return_index=True)
    return columns.take(np.sort(first))
