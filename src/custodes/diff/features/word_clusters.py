"""Words of like meaning: what a response talks about, whatever word it uses for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from custodes.diff.features.clusters import k_means
from custodes.diff.features.embedding import embed
from custodes.diff.features.indicators import Column, Columns, from_masks, word_pattern
from custodes.diff.features.text import Corpus

__all__ = ["meaning_columns"]

FAMILY = "meaning"
# Words in more of the responses than this would drown the rarer ones that mean the same.
COMMONEST = 0.04
LETTERS = 3
# Words of a group on average, and groups at most.
SIZES = (60, 20)
MOST_GROUPS = 300
TERMS = 4


def meaning_columns(corpus: Corpus, seed: int) -> Columns:
    """Group the rarer words by their vectors; a response shows a group if it has a word of it.

    A change of topic that is said in ever other words has no word or phrase in common, but its
    words lie together.

    Args:
        corpus: The responses, tokenised.
        seed: Of k-means.
    """
    size = len(corpus.vocabulary)
    pairs = np.unique(corpus.doc.astype(np.int64) * size + corpus.tokens)
    doc, token = pairs // size, pairs % size
    held = np.bincount(token, minlength=size)
    wordy = np.array([len(t) >= LETTERS and t.isalpha() for t in corpus.vocabulary], bool)
    words = np.flatnonzero(wordy & (held >= 1) & (held <= COMMONEST * corpus.n))
    if len(words) < 4 * min(SIZES):
        return from_masks([], [], corpus.n)
    points = embed([corpus.vocabulary[w] for w in words])
    columns: list[Column] = []
    masks: list[NDArray[np.bool_]] = []
    for per_group in SIZES:
        k = max(2, min(len(words) // per_group, MOST_GROUPS))
        group = np.full(size, -1, np.int64)
        group[words] = k_means(points, k, seed)
        for g in range(k):
            mine = words[group[words] == g]
            if not len(mine):
                continue
            mask = np.zeros(corpus.n, np.bool_)
            mask[doc[group[token] == g]] = True
            named = [corpus.vocabulary[w] for w in mine[np.argsort(-held[mine], kind="stable")]]
            statement = f"uses a word like {', '.join(named[:TERMS])}"
            columns.append(Column("cluster", FAMILY, statement, word_pattern(named)))
            masks.append(mask)
    return from_masks(columns, masks, corpus.n)
