"""How people compare two sets of responses today: the opponents of the planted benchmark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from custodes.diff.benchmark.planted import Case, Claim
from custodes.diff.features.embedding import embed
from custodes.diff.features.text import tokenize

__all__ = ["BASELINES", "benjamini_hochberg"]

Floats = NDArray[np.float64]
Bags = tuple[tuple[str, ...], list[set[str]], list[set[str]]]


def benjamini_hochberg(p: Floats, fdr: float) -> NDArray[np.bool_]:
    """Return which p-values Benjamini & Hochberg (1995) reject."""
    if not len(p):
        return np.zeros(0, np.bool_)
    ordered = np.sort(p)
    passes = np.flatnonzero(ordered <= fdr * np.arange(1, len(p) + 1) / len(p))
    return p <= (ordered[passes[-1]] if len(passes) else -1.0)


def _grams(text: str, longest: int) -> set[str]:
    words = [w.lower() for w in tokenize(text)]
    return {
        " ".join(words[i : i + k]) for k in range(1, longest + 1) for i in range(len(words) - k + 1)
    }


def _bags(case: Case, longest: int) -> Bags:
    sides = [[_grams(t[0], longest) for t in side.texts] for side in (case.a, case.b)]
    return case.a.ids, sides[0], sides[1]


def _claim(what: str, ids: Sequence[str], a: Sequence[bool], b: Sequence[bool]) -> Claim:
    sides = [frozenset(i for i, x in zip(ids, side, strict=True) if x) for side in (a, b)]
    moved = {i: float(y) - float(x) for i, x, y in zip(ids, a, b, strict=True) if x != y}
    return Claim(what, sides[sum(b) >= sum(a)], sides[0] | sides[1], moved)


def mcnemar(case: Case, fdr: float) -> list[Claim]:
    """Test every 1- to 3-gram by McNemar's exact test; Benjamini & Hochberg over all."""
    from scipy import stats

    ids, in_a, in_b = _bags(case, 3)
    up: Counter[str] = Counter(g for a, b in zip(in_a, in_b, strict=True) for g in b - a)
    down: Counter[str] = Counter(g for a, b in zip(in_a, in_b, strict=True) for g in a - b)
    grams = sorted(g for g in up | down if up[g] + down[g] >= 5)
    more = np.array([max(up[g], down[g]) for g in grams])
    both = np.array([up[g] + down[g] for g in grams])
    p = np.minimum(1, 2 * stats.binom.sf(more - 1, both, 0.5)) if grams else np.zeros(0)
    return [
        _claim(g, ids, [g in x for x in in_a], [g in x for x in in_b])
        for g, passes in zip(grams, benjamini_hochberg(p, fdr), strict=True)
        if passes
    ]


def log_odds(case: Case, fdr: float) -> list[Claim]:
    """Rank words by their log-odds with an informative prior (Monroe et al. 2008), then BH."""
    from scipy import stats

    ids, in_a, in_b = _bags(case, 1)
    y: list[Counter[str]] = [Counter(g for bag in side for g in bag) for side in (in_a, in_b)]
    words = sorted(w for w in y[0] | y[1] if y[0][w] + y[1][w] >= 5)
    a, b = (np.array([side[w] for w in words], float) for side in y)
    prior = (a + b) * 0.1 + 0.01
    totals = [float(v.sum() + prior.sum()) for v in (a, b)]
    odds = [np.log((v + prior) / (t - v - prior)) for v, t in zip((a, b), totals, strict=True)]
    z = (odds[1] - odds[0]) / np.sqrt(1 / (a + prior) + 1 / (b + prior))
    passes = benjamini_hochberg(2 * stats.norm.sf(np.abs(z)), fdr)
    return [
        _claim(w, ids, [w in x for x in in_a], [w in x for x in in_b])
        for w, good in zip(words, passes, strict=True)
        if good
    ]


def cluster_fisher(case: Case, fdr: float) -> list[Claim]:
    """k-means on embeddings of the responses, Fisher's test for each cluster, then BH."""
    from scipy import stats
    from sklearn.cluster import KMeans

    texts = [t[0] for t in (*case.a.texts, *case.b.texts)]
    n = len(case.a.ids)
    labels = KMeans(max(2, n // 20), n_init=1, random_state=0).fit_predict(embed(texts))
    shows = [(labels[:n] == k, labels[n:] == k) for k in range(int(labels.max()) + 1)]
    p = np.array(
        [
            stats.fisher_exact(np.array([[a.sum(), n - a.sum()], [b.sum(), n - b.sum()]])).pvalue
            for a, b in shows
        ]
    )
    return [
        _claim(f"cluster {k}", case.a.ids, a.tolist(), b.tolist())
        for k, ((a, b), good) in enumerate(zip(shows, benjamini_hochberg(p, fdr), strict=True))
        if good
    ]


def classifier(case: Case, fdr: float) -> list[Claim]:
    """Tell B from A by a bag of words, out of fold; claim what it is sure comes from B.

    The claim is made if the out-of-fold accuracy is significant at ``fdr`` by sign flips.
    """
    from scipy import stats
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict

    n = len(case.a.ids)
    texts = [t[0] for t in (*case.a.texts, *case.b.texts)]
    words = CountVectorizer(binary=True, min_df=3, ngram_range=(1, 2)).fit_transform(texts)
    y = np.repeat([0, 1], n)
    score = cross_val_predict(
        LogisticRegression(C=0.1, max_iter=300),
        words,
        y,
        groups=np.tile(np.arange(n), 2),
        cv=GroupKFold(5),
        method="predict_proba",
    )[:, 1]
    wins = int((score[n:] > score[:n]).sum())
    if stats.binomtest(wins, n).pvalue > fdr:
        return []
    cut = float(np.quantile(score[:n], 0.98))
    return [
        _claim("bag of words", case.a.ids, (score[:n] > cut).tolist(), (score[n:] > cut).tolist())
    ]


BASELINES: Mapping[str, Callable[[Case, float], list[Claim]]] = {
    "McNemar 1-3-grams": mcnemar,
    "word log-odds": log_odds,
    "k-means + Fisher": cluster_fisher,
    "bag-of-words classifier": classifier,
}
