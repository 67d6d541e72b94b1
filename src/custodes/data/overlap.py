"""Prompts that two sets share, told by their text and not by their ids."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np

__all__ = ["Overlap", "normalised", "overlaps"]

SHINGLE = 5
"""Characters in a shingle."""
NEAR = 0.8
"""Share of the shorter text's shingles that makes two texts near-duplicates."""
SHORTEST = 16
"""Texts with fewer characters are compared as a whole only."""
_COLUMNS = 2**20


@dataclass(frozen=True)
class Overlap:
    """A text of one set that is also in another.

    Attributes:
        first: Index in the first set.
        second: Index of its closest text in the second set.
        share: Share of the shorter text's shingles that the longer one has, in [0, 1]; 1 where
            the normalised texts are equal.
    """

    first: int
    second: int
    share: float


def normalised(text: str) -> str:
    """Return a text without case, punctuation and repeated space, to compare by.

    >>> normalised("  What's  the TIME?")
    'what s the time'
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in folded).split())


def overlaps(first: Sequence[str], second: Sequence[str], near: float = NEAR) -> list[Overlap]:
    """Find the texts of ``first`` that are in ``second``, equal or nearly so.

    Near-duplicates share runs of five characters (Broder 1997, "On the resemblance and containment
    of documents"): containment, so that a prompt inside a longer text, such as a jailbreak or a
    transcript, is recognised.

    Args:
        first: Texts to look for.
        second: Texts to look in.
        near: Share of the shorter text's shingles from which on two texts overlap, in (0, 1].

    Returns:
        At most one overlap for each text of ``first``, in their order.
    """
    from scipy import sparse

    a, b = [normalised(text) for text in first], [normalised(text) for text in second]
    if not a or not b:
        return []
    equal = {text: i for i, text in reversed(list(enumerate(b)))}
    a_NS, b_MS = _shingles(a), _shingles(b)
    shared_NM = sparse.csr_matrix(a_NS @ b_MS.T)
    sizes_N, sizes_M = np.diff(a_NS.indptr), np.diff(b_MS.indptr)
    pairs = []
    for i, text in enumerate(a):
        if text and text in equal:
            pairs.append(Overlap(i, equal[text], 1.0))
            continue
        row = slice(shared_NM.indptr[i], shared_NM.indptr[i + 1])
        others = shared_NM.indices[row]
        if not len(others):
            continue
        share = shared_NM.data[row] / np.minimum(sizes_N[i], sizes_M[others])
        best = int(np.argmax(share))
        if share[best] >= near:
            pairs.append(Overlap(i, int(others[best]), round(float(share[best]), 4)))
    return pairs


def _shingles(texts: Sequence[str]) -> Any:
    """Return which shingles each text has, as a sparse 0/1 matrix."""
    from scipy import sparse

    columns, starts = [], [0]
    for text in texts:
        if len(text) >= SHORTEST:
            runs = {text[i : i + SHINGLE] for i in range(len(text) - SHINGLE + 1)}
            columns += sorted(
                {crc32(run.encode("utf-8", "surrogatepass")) % _COLUMNS for run in runs}
            )
        starts.append(len(columns))
    shape = (len(texts), _COLUMNS)
    return sparse.csr_matrix((np.ones(len(columns), np.int32), columns, starts), shape=shape)
