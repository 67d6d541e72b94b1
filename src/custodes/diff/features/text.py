"""Texts as arrays of token ids, so that everything that counts words is vectorised."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["END", "NEWLINE", "START", "TERMINAL", "Corpus", "read_corpus", "sentences", "tokenize"]

START, END, NEWLINE = "\x02", "\x03", "\n"
# What a text that was not cut off ends with.
TERMINAL = tuple(".!?…:;)\"'”’`*。！？")

# One token is a word with its apostrophes, a number, a line break, one character of a script
# that writes no spaces between words, or any other single character that is not a space.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_TOKEN = re.compile(
    rf"[{_UNSPACED}]|[^\W\d_{_UNSPACED}]+(?:['’][^\W\d_{_UNSPACED}]+)*|\d+(?:[.,]\d+)*|\n|[^\w\s]|_"
)
# Control characters that mark the ends of a text are not taken from a text.
_RESERVED = str.maketrans({START: "\ufffd", END: "\ufffd", "’": "'"})
_SENTENCE = re.compile(r"(?<=[.!?…。！？])\s+|\n+")


def tokenize(text: str) -> list[str]:
    """Split a text into tokens, case kept.

    >>> tokenize("I can't: 3.5 times\\nno!")
    ['I', "can't", ':', '3.5', 'times', '\\n', 'no', '!']
    """
    return _TOKEN.findall(text.translate(_RESERVED))


def sentences(text: str) -> list[str]:
    """Split a text after its stops and at its line breaks; blank pieces are dropped."""
    return [piece for part in _SENTENCE.split(text) if (piece := part.strip())]


@dataclass(frozen=True)
class Corpus:
    """Many texts, tokenised.

    Attributes:
        vocabulary: Distinct folded (lower-case) tokens.
        tokens: Ids of the folded tokens of all texts in order, each text opening with START
            and closing with END, shape (total,).
        cased: Index into ``spellings`` of every token, shape (total,).
        spellings: Distinct tokens as they were written.
        doc: Text of each token, shape (total,), ascending.
        n: Number of texts.
    """

    vocabulary: list[str]
    tokens: NDArray[np.int32]
    cased: NDArray[np.int32]
    spellings: list[str]
    doc: NDArray[np.int32]
    n: int

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text, its two boundaries not counted."""
        return np.bincount(self.doc, minlength=self.n) - 2

    def count(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Count the marked tokens of each text; ``mask`` has shape (total,)."""
        return np.bincount(self.doc[mask], minlength=self.n)


def read_corpus(texts: Sequence[str]) -> Corpus:
    """Tokenise texts."""
    spelling_ids: dict[str, int] = {START: 0, END: 1}
    chunks: list[NDArray[np.int32]] = []
    sizes = np.empty(len(texts), np.int64)
    for i, text in enumerate(texts):
        ids = [0, *(spelling_ids.setdefault(t, len(spelling_ids)) for t in tokenize(text)), 1]
        chunks.append(np.array(ids, np.int32))
        sizes[i] = len(ids)
    cased = np.concatenate(chunks) if chunks else np.empty(0, np.int32)
    spellings = list(spelling_ids)
    folded_ids: dict[str, int] = {}
    fold = np.array(
        [folded_ids.setdefault(s.lower(), len(folded_ids)) for s in spellings], np.int32
    )
    return Corpus(
        list(folded_ids),
        fold[cased],
        cased,
        spellings,
        np.repeat(np.arange(len(texts), dtype=np.int32), sizes),
        len(texts),
    )
