"""Clusters of responses, and of sentences in them, formed without knowing who answered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from custodes.diff.features.indicators import Indicator, Indicators, from_masks, join, word_pattern
from custodes.diff.features.sentences import Sentences
from custodes.diff.features.text import Corpus, read_corpus
from custodes.models.base import Array

__all__ = ["cluster_indicators", "cluster_texts", "k_means", "name_clusters"]

FAMILY = "cluster"
COMPONENTS = 30
# HDBSCAN's cost grows with the square of the texts, so it sees at most this many; every other
# text joins the nearest cluster if it is as near as the cluster's own members.
MOST_TEXTS = 5000
# k-means, in two sizes: members of a cluster on average, and clusters at most.
SIZES = (120, 40)
END_SIZES = (60, 25)
MOST_CLUSTERS = 200
ROUNDS = 10
TERMS = 4


def cluster_indicators(
    texts: Sequence[str], embedded: Array, sentences: Sentences, least: int, seed: int
) -> Indicators:
    """Cluster whole responses, all sentences, first and last ones.

    A response shows a cluster if the response, or one of its sentences, is a member.

    Args:
        texts: The responses.
        embedded: Their embeddings, shape (responses, d).
        sentences: The sentences of the responses.
        least: Size of the smallest cluster.
        seed: Draws the subsample and the start of k-means.
    """
    n = len(texts)
    parts = [_indicators("is about", cluster_texts(embedded, least, seed), texts, np.arange(n), n)]
    if len(sentences.texts):
        # Equal sentences are one point, so that repetition alone does not make a dense cluster.
        labels = cluster_texts(sentences.points, least, seed)
        flat = [sentences.texts[k] for k in sentences.which]
        parts.append(
            _indicators(
                "has a sentence about",
                [lab[sentences.which] for lab in labels],
                flat,
                sentences.owner,
                n,
            )
        )
        for last, verb in (
            (False, "begins with a sentence about"),
            (True, "ends with a sentence about"),
        ):
            owner, which = sentences.end(last)
            parts.append(_indicators(verb, *_ends(sentences, which, least, seed), owner, n))
    return join(parts)


def _ends(
    sentences: Sentences, which: NDArray[np.intp], least: int, seed: int
) -> tuple[list[NDArray[np.int64]], list[str]]:
    """Cluster the sentences at one end, whose wording depends on the prompt less than the rest."""
    points = sentences.points[which]
    texts = [sentences.texts[k] for k in which]
    if len(points) < 4 * least:
        return [], texts
    low = _principal(points, points[:: max(1, len(points) // MOST_TEXTS)])
    return [k_means(low, max(2, min(len(low) // s, MOST_CLUSTERS)), seed) for s in END_SIZES], texts


def cluster_texts(points: Array, least: int, seed: int) -> list[NDArray[np.int64]]:
    """Cluster points coarsely (k-means, two sizes) and by density (PCA, then HDBSCAN).

    Returns:
        One array of labels for each clustering, shape (points,), -1 for noise.
    """
    from sklearn.cluster import HDBSCAN

    n = len(points)
    if n < 4 * least:
        return []
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.choice(n, MOST_TEXTS, replace=False)) if n > MOST_TEXTS else np.arange(n)
    low = _principal(points, points[sample])
    labels = []
    for size in SIZES:
        k = max(2, min(n // size, MOST_CLUSTERS))
        labels.append(k_means(low, k, seed, low[sample]))
    density = HDBSCAN(min_cluster_size=max(least, 5), min_samples=3, copy=True)
    by_density = density.fit_predict(low[sample]).astype(np.int64)
    labels.append(by_density if len(sample) == n else _join_nearest(low, sample, by_density))
    return labels


def _principal(points: Array, some: Array) -> Array:
    """Project points on the principal components of some of them (exact, by eigenvectors)."""
    mean = some.mean(axis=0)
    centred = (some - mean).astype(np.float64)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, ::-1][:, :COMPONENTS].astype(np.float32)
    # This order copies nothing as large as the points.
    result: Array = points @ axes - mean @ axes
    return result


def k_means(points: Array, k: int, seed: int, some: Array | None = None) -> NDArray[np.int64]:
    """Cluster by Lloyd's k-means from a random start.

    scikit-learn's MiniBatchKMeans took three quarters of the time of a small diff, most of it
    waiting for threads (docs/measurements/diff.md).

    Args:
        points: Shape (n, d).
        k: Number of clusters. Empty ones have no members in the result.
        seed: Draws the start.
        some: The points that form the clusters; all by default.

    Returns:
        Labels of all points, shape (n,).
    """
    some = points if some is None else some
    rng = np.random.default_rng(seed)
    centroids = some[rng.choice(len(some), min(k, len(some)), replace=False)].copy()
    for _ in range(ROUNDS):
        nearest = _nearest(some, centroids)[0]
        size = np.bincount(nearest, minlength=len(centroids))
        sums = np.zeros_like(centroids)
        np.add.at(sums, nearest, some)
        centroids[size > 0] = sums[size > 0] / size[size > 0, None]
    return _nearest(points, centroids)[0]


def _nearest(points: Array, centroids: Array) -> tuple[NDArray[np.int64], Array]:
    """Return the nearest centroid of each point and its distance."""
    label = np.empty(len(points), np.int64)
    distance = np.empty(len(points), np.float32)
    squares = (centroids**2).sum(axis=1)
    for start in range(0, len(points), 4096):
        block = points[start : start + 4096]
        gap = squares - 2 * block @ centroids.T
        label[start : start + 4096] = gap.argmin(axis=1)
        least = gap.min(axis=1) + (block**2).sum(axis=1)
        distance[start : start + 4096] = np.sqrt(np.maximum(least, 0))
    return label, distance


def _join_nearest(
    low: Array, sample: NDArray[np.intp], labels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Label every point by the nearest centroid, if the cluster's members are as far from it."""
    k = int(labels.max()) + 1
    if k == 0:
        return np.full(len(low), -1, np.int64)
    members = [low[sample[labels == j]] for j in range(k)]
    centroids = np.stack([m.mean(axis=0) for m in members])
    radius = np.array(
        [
            np.quantile(np.linalg.norm(m - c, axis=1), 0.95)
            for m, c in zip(members, centroids, strict=True)
        ]
    )
    nearest, distance = _nearest(low, centroids)
    return np.where(distance <= radius[nearest], nearest, -1)


def _indicators(
    verb: str,
    labelings: Sequence[NDArray[np.int64]],
    texts: Sequence[str],
    owner: NDArray[np.intp],
    n: int,
) -> Indicators:
    indicators: list[Indicator] = []
    masks: list[NDArray[np.bool_]] = []
    corpus = read_corpus(texts)
    for labels in labelings:
        for label, terms in enumerate(name_clusters(corpus, labels)):
            mask = np.zeros(n, np.bool_)
            mask[owner[labels == label]] = True
            indicators.append(
                Indicator(
                    "cluster",
                    FAMILY,
                    f"{verb} {', '.join(terms) or 'nothing'}",
                    word_pattern(terms),
                    form="cluster",
                )
            )
            masks.append(mask)
    return from_masks(indicators, masks, n)


def name_clusters(corpus: Corpus, labels: NDArray[np.int64]) -> list[tuple[str, ...]]:
    """Name each cluster by words that its members have and other texts lack.

    The weight of a word is its log-odds in the cluster against all texts, shrunk by a count of
    one half, times the share of members that have it.
    """
    k = int(labels.max(initial=-1)) + 1
    size = len(corpus.vocabulary)
    wordy = np.array([len(t) > 2 and t[0].isalpha() for t in corpus.vocabulary])
    keep = wordy[corpus.tokens]
    pairs = np.unique(corpus.doc[keep].astype(np.int64) * size + corpus.tokens[keep])
    doc, token = pairs // size, pairs % size
    everywhere = np.bincount(token, minlength=size)
    order = np.argsort(labels[doc], kind="stable")
    bounds = np.searchsorted(labels[doc][order], np.arange(k + 1))
    members = np.bincount(labels[labels >= 0], minlength=k)
    names = []
    for j in range(k):
        here = np.bincount(token[order[bounds[j] : bounds[j + 1]]], minlength=size)
        share = here / max(members[j], 1)
        lift = np.log((share + 0.5 / max(members[j], 1)) / ((everywhere + 0.5) / corpus.n))
        best = np.argsort(-share * lift, kind="stable")[:TERMS]
        names.append(tuple(corpus.vocabulary[t] for t in best if here[t] > 0))
    return names
