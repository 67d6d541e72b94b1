"""Pairwise ridge regression: a linear score that puts the chosen answer above the rejected one.

The pure core of a head's fit. Each pair is one row: the difference of its two answers' features,
whose score should be +1. What is the same in both answers (the prompt, any constant) cancels, so
there is no intercept, and swapping the answers changes nothing but the sign. With many more
features than pairs everything happens in the pairs' Gram matrix, whose one eigendecomposition
serves every ridge strength and every labelling. It ranked held-out pairs as well as the logistic
(Bradley-Terry) likelihood did, and is exact.

Shapes: N pairs, F features, R ridge strengths, T labellings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "RIDGES",
    "best_ridge",
    "fold_numbers",
    "held_out_margins",
    "nested_margins",
    "ridge_weights",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RIDGES: tuple[float, ...] = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Strengths to choose from, where a row's mean squared length is 1."""


def fold_numbers(groups: Sequence[str], folds: int, seed: int) -> Integers:
    """Deal whole groups (prompts) into folds, so that no prompt is on both sides of a split.

    Args:
        groups: Each pair's group, shape (N,).
        folds: How many; no more than there are groups.
        seed: Of the deal.

    Returns:
        Each pair's fold, shape (N,).
    """
    names = sorted(set(groups))
    dealt = np.random.default_rng(seed).permutation(len(names)) % folds
    fold_of = dict(zip(names, dealt.tolist(), strict=True))
    return np.array([fold_of[group] for group in groups], dtype=np.int64)


def ridge_weights(difference_NF: Floats, importance_N: Floats, ridge: float) -> Floats:
    """Fit: minimise mean(importance * (1 - difference @ w)^2) + ridge * |w|^2; shape (F,)."""
    root_N = np.sqrt(importance_N)
    scaled_NF = difference_NF * root_N[:, None]
    gram_NN = scaled_NF @ scaled_NF.T
    gram_NN[np.diag_indices_from(gram_NN)] += ridge * len(root_N)
    return np.asarray(scaled_NF.T @ np.linalg.solve(gram_NN, root_N))


def held_out_margins(
    gram_NN: Floats,
    importance_N: Floats,
    fold_N: Integers,
    ridges: Sequence[float],
    label_TN: Floats | None = None,
) -> Floats:
    """Score each pair with fits that saw no pair of its fold.

    Args:
        gram_NN: Inner products of the pairs' differences.
        importance_N: Weights, positive.
        fold_N: Each pair's fold.
        ridges: Strengths.
        label_TN: What each labelling says: +1 where the chosen answer is better, -1 where the
            other is. One labelling, all +1, by default.

    Returns:
        Scores of the differences, shape (R, T, N).
    """
    label_TN = np.ones((1, len(fold_N))) if label_TN is None else label_TN
    root_N = np.sqrt(importance_N)
    margin_RTN = np.zeros((len(ridges), *label_TN.shape))
    for fold in np.unique(fold_N):
        seen, unseen = np.flatnonzero(fold_N != fold), np.flatnonzero(fold_N == fold)
        root_S = root_N[seen]
        value_S, vector_SS = np.linalg.eigh(gram_NN[np.ix_(seen, seen)] * root_S[:, None] * root_S)
        target_TS = (label_TN[:, seen] * root_S) @ vector_SS
        project_US = (gram_NN[np.ix_(unseen, seen)] * root_S) @ vector_SS
        for r, ridge in enumerate(ridges):
            dual_TS = target_TS / (np.maximum(value_S, 0) + ridge * len(seen))
            margin_RTN[r][:, unseen] = dual_TS @ project_US.T
    return margin_RTN


def best_ridge(margin_RN: Floats) -> int:
    """Choose the strength whose held-out margins stand furthest above 0, in their own spread.

    Mean over standard deviation does not depend on the scale, which the ridge itself shrinks, and
    is far less noisy than a count of right pairs.
    """
    return int(np.argmax(margin_RN.mean(axis=1) / (margin_RN.std(axis=1) + 1e-300)))


def nested_margins(
    gram_NN: Floats,
    importance_N: Floats,
    groups: Sequence[str],
    *,
    folds: int,
    seed: int,
    ridges: Sequence[float] = RIDGES,
) -> Floats:
    """Score each pair held out, its ridge chosen without it too (nested cross-validation).

    Returns:
        Margins, shape (N,): positive where the chosen answer scores higher.
    """
    outer_N = fold_numbers(groups, folds, seed)
    margin_N = np.zeros(len(outer_N))
    for fold in np.unique(outer_N):
        seen, unseen = np.flatnonzero(outer_N != fold), np.flatnonzero(outer_N == fold)
        gram_SS = gram_NN[np.ix_(seen, seen)]
        inner_S = fold_numbers([groups[i] for i in seen.tolist()], folds, seed + 1)
        inner_RS = held_out_margins(gram_SS, importance_N[seen], inner_S, ridges)[:, 0]
        ridge = ridges[best_ridge(inner_RS)]
        root_S = np.sqrt(importance_N[seen])
        inner_SS = gram_SS * root_S[:, None] * root_S + np.eye(len(seen)) * ridge * len(seen)
        margin_N[unseen] = (gram_NN[np.ix_(unseen, seen)] * root_S) @ np.linalg.solve(
            inner_SS, root_S
        )
    return margin_N
