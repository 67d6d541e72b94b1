"""Clusters of words with similar meaning: what a response mentions, whatever the word for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from custodes.diff.features.clusters import k_means
from custodes.diff.features.embedding import embed
from custodes.diff.features.indicators import Indicator, Indicators, from_masks, word_pattern
from custodes.diff.features.text import Corpus

__all__ = ["word_cluster_indicators"]

FAMILY = "word cluster"
# A word in a larger share of the responses would outweigh the rarer words of its cluster.
COMMONEST = 0.04
LETTERS = 3
# Mean number of words in a cluster, and the largest number of clusters.
SIZES = (60, 20)
MOST_CLUSTERS = 300
TERMS = 4


def word_cluster_indicators(corpus: Corpus, seed: int) -> Indicators:
    """Cluster the rarer words by their vectors; a response with a word of a cluster shows it.

    A new topic may be named by a different word each time. These responses have no word in common,
    but the words have similar vectors.

    Args:
        corpus: The responses, tokenised.
        seed: Draws the start of k-means.
    """
    size = len(corpus.vocabulary)
    pairs = np.unique(corpus.doc.astype(np.int64) * size + corpus.tokens)
    doc, token = pairs // size, pairs % size
    frequency = np.bincount(token, minlength=size)
    wordy = np.array([len(t) >= LETTERS and t.isalpha() for t in corpus.vocabulary], bool)
    words = np.flatnonzero(wordy & (frequency >= 1) & (frequency <= COMMONEST * corpus.n))
    if len(words) < 4 * min(SIZES):
        return from_masks([], [], corpus.n)
    points = embed([corpus.vocabulary[w] for w in words])
    indicators: list[Indicator] = []
    masks: list[NDArray[np.bool_]] = []
    for size_of_cluster in SIZES:
        k = max(2, min(len(words) // size_of_cluster, MOST_CLUSTERS))
        cluster = np.full(size, -1, np.int64)
        cluster[words] = k_means(points, k, seed)
        for c in range(k):
            members = words[cluster[words] == c]
            if not len(members):
                continue
            mask = np.zeros(corpus.n, np.bool_)
            mask[doc[cluster[token] == c]] = True
            order = np.argsort(-frequency[members], kind="stable")
            names = [corpus.vocabulary[w] for w in members[order]]
            statement = f"uses a word like {', '.join(names[:TERMS])}"
            indicators.append(
                Indicator("cluster", FAMILY, statement, word_pattern(names), form="cluster")
            )
            masks.append(mask)
    return from_masks(indicators, masks, corpus.n)
