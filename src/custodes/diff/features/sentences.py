"""Responses cut into sentences, once, with an embedding of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custodes.diff.features.embedding import embed
from custodes.diff.features.text import sentences
from custodes.models.base import Array

__all__ = ["Parts", "read_parts"]


@dataclass(frozen=True)
class Parts:
    """The sentences of many responses.

    Attributes:
        texts: Distinct sentences.
        points: Their embeddings, shape (distinct, d).
        which: Index into ``texts`` of every sentence in order, shape (sentences,).
        owner: Response of each sentence, ascending, shape (sentences,).
        n: Responses.
    """

    texts: tuple[str, ...]
    points: Array
    which: NDArray[np.intp]
    owner: NDArray[np.intp]
    n: int

    @property
    def count(self) -> NDArray[np.int64]:
        """Sentences of each response, shape (n,)."""
        return np.bincount(self.owner, minlength=self.n)

    def end(self, last: bool) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the responses that have a sentence, and the first or last one of each."""
        count = self.count
        having = np.flatnonzero(count)
        stops = np.cumsum(count)[having]
        return having, self.which[stops - 1 if last else stops - count[having]]


def read_parts(texts: Sequence[str]) -> Parts:
    """Cut responses into sentences and embed each distinct one."""
    pieces = [sentences(text) for text in texts]
    number: dict[str, int] = {}
    which = [number.setdefault(s, len(number)) for piece in pieces for s in piece]
    owner = np.repeat(np.arange(len(texts)), [len(p) for p in pieces])
    return Parts(tuple(number), embed(list(number)), np.array(which, np.intp), owner, len(texts))
