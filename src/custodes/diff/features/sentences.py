"""Responses split into sentences, with an embedding of each distinct sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custodes.diff.features.embedding import embed
from custodes.diff.features.text import split_sentences
from custodes.models.base import Array

__all__ = ["Sentences", "read_sentences"]


@dataclass(frozen=True)
class Sentences:
    """The sentences of many responses.

    Attributes:
        texts: Distinct sentences.
        points: Their embeddings, shape (distinct, d).
        which: Index into ``texts`` of every sentence in order, shape (sentences,).
        owner: Index of the response of each sentence, ascending, shape (sentences,).
        n: Number of responses.
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
        """Return the responses that have a sentence, and the first or last sentence of each."""
        count = self.count
        owners = np.flatnonzero(count)
        stops = np.cumsum(count)[owners]
        return owners, self.which[stops - 1 if last else stops - count[owners]]


def read_sentences(texts: Sequence[str]) -> Sentences:
    """Split responses into sentences and embed each distinct sentence."""
    split = [split_sentences(text) for text in texts]
    numbers: dict[str, int] = {}
    which = [numbers.setdefault(s, len(numbers)) for sentences in split for s in sentences]
    return Sentences(
        texts=tuple(numbers),
        points=embed(list(numbers)),
        which=np.array(which, np.intp),
        owner=np.repeat(np.arange(len(texts)), [len(sentences) for sentences in split]),
        n=len(texts),
    )
