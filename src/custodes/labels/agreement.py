"""Agreement between annotators: Krippendorff's alpha, its interval, and a test against chance.

Source: Krippendorff, "Content Analysis", 4th edition, 2018, chapter 12 (nominal data).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custodes.control import Control
from custodes.data.labels import Label
from custodes.statistics import expanded_tails

__all__ = ["Agreement", "agreement", "alpha", "ratings_of"]

LEAST_SHARED = 5
"""With fewer items that two annotators answered, agreement is not tested."""
RESAMPLES, PERMUTATIONS = 2000, 999
MISSING = -1

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """How far annotators agree.

    Attributes:
        alpha: Krippendorff's alpha for nominal data: 1 is full agreement, 0 what chance gives. None
            where it is not defined: no item has two answers, or all answers are the same.
        low: Lower end of the 95% bootstrap interval over items; None without alpha.
        high: Upper end.
        shared: Items with answers of two annotators or more.
        annotators: Number of annotators with answers.
        same: Share of equal answers among all pairs of answers to one item; None without any.
        control: Whether they agree better than chance.
    """

    alpha: float | None
    low: float | None
    high: float | None
    shared: int
    annotators: int
    same: float | None
    control: Control


def agreement(labels: Sequence[Label], *, seed: int = 0) -> Agreement:
    """Measure the agreement of the annotators; repeats and skipped items do not count.

    Args:
        labels: Labels of any number of annotators.
        seed: Draws the bootstrap samples and the permutations.
    """
    ratings_AU = ratings_of(labels)
    counts_UC = _counts(ratings_AU)
    total_U = counts_UC.sum(1)
    shared = int((total_U > 1).sum())
    value = alpha(ratings_AU)
    pairs = float((total_U * (total_U - 1)).sum())
    same = float((counts_UC * (counts_UC - 1)).sum() / pairs) if pairs else None
    low, high = (None, None) if value is None else _interval(counts_UC, seed)
    control = _control(ratings_AU, value, (low, high), shared, seed)
    return Agreement(value, low, high, shared, len(ratings_AU), same, control)


def ratings_of(labels: Sequence[Label]) -> Ints:
    """Code the answers of each annotator to each item.

    The two answers of an item are coded by a coin that its id tosses. Coded as the file has them,
    alpha would depend on the order of its columns: where all first answers are the better ones,
    annotators who agree that they are would agree "by chance".

    Returns:
        Shape (annotators, items): 0 or 1 for an answer, 2 for a tie, -1 if missing.
    """
    kept = [label for label in labels if not label.repeat and label.choice != "skip"]
    annotators = {name: i for i, name in enumerate(dict.fromkeys(x.annotator for x in kept))}
    items = {item: i for i, item in enumerate(dict.fromkeys(x.item for x in kept))}
    ratings_AU = np.full((len(annotators), len(items)), MISSING, np.int64)
    for label in kept:
        coin = hashlib.sha256(label.item.encode("utf-8", "replace")).digest()[0] % 2
        code = 2 if label.choice == "tie" else ("a", "b").index(label.choice) ^ coin
        ratings_AU[annotators[label.annotator], items[label.item]] = code
    return ratings_AU


def alpha(ratings_AU: Ints) -> float | None:
    """Return Krippendorff's alpha for nominal data.

    Args:
        ratings_AU: Categories from 0, shape (annotators, units); -1 is missing.

    Returns:
        Alpha, at most 1; None if no unit has two ratings, or all of those are the same.
    """
    value = _alphas(_counts(ratings_AU), np.ones((1, ratings_AU.shape[1])))[0]
    return None if np.isnan(value) else float(value)


def _counts(ratings_AU: Ints) -> Ints:
    """Return how many annotators gave each category, shape (units, categories)."""
    categories = np.arange(max(ratings_AU.max(initial=0) + 1, 2))
    counts: Ints = (ratings_AU[:, :, None] == categories).sum(0)
    return counts


def _alphas(counts_UC: Ints, weights_RU: Floats) -> Floats:
    """Return alpha for each weighting of the units, shape (R,); NaN where it is not defined."""
    total_U = counts_UC.sum(1)
    usable = total_U > 1
    counts_UC, total_U, weights_RU = counts_UC[usable], total_U[usable], weights_RU[:, usable]
    # 1. Coincidences: each unit contributes its pairs of ratings, with the weight 1 / (m - 1).
    agreed_U = (counts_UC * (counts_UC - 1)).sum(1) / (total_U - 1)
    # 2. n_c is how often a category occurs in such units, and n = Σ n_c.
    n_RC = weights_RU @ counts_UC
    n_R = n_RC.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        observed_R = 1 - weights_RU @ agreed_U / n_R
        expected_R = 1 - (n_RC * (n_RC - 1)).sum(1) / (n_R * (n_R - 1))
        # 3. alpha = 1 - observed disagreement / expected disagreement.
        alphas: Floats = np.where(expected_R > 1e-12, 1 - observed_R / expected_R, np.nan)
    return alphas


def _interval(counts_UC: Ints, seed: int) -> tuple[float | None, float | None]:
    shared_UC = counts_UC[counts_UC.sum(1) > 1]
    n = len(shared_UC)
    if n < 2:
        return None, None
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)
    # A resample in which all answers are the same has no disagreement to explain: alpha is 1.
    alphas = np.nan_to_num(_alphas(shared_UC, weights), nan=1.0)
    low, high = np.quantile(alphas, expanded_tails(n))
    return float(low), float(high)


def _control(
    ratings_AU: Ints,
    value: float | None,
    interval: tuple[float | None, float | None],
    shared: int,
    seed: int,
) -> Control:
    name = "annotators agree better than chance"
    if len(ratings_AU) < 2:
        return Control.not_tested(name, f"{len(ratings_AU)} annotators; it takes two")
    if shared < LEAST_SHARED:
        return Control.not_tested(
            name,
            f"two annotators answered only {shared} of the same items; it takes {LEAST_SHARED}",
        )
    if value is None:
        return Control.not_tested(name, "all answers are the same, so agreement shows nothing")
    rng = np.random.default_rng(seed)
    shuffled = ratings_AU.copy()
    least = 0
    for _ in range(PERMUTATIONS):
        for row, ratings in zip(shuffled, ratings_AU, strict=True):
            given = ratings != MISSING
            row[given] = rng.permutation(ratings[given])
        other = alpha(shuffled)
        least += other is not None and other >= value - 1e-12
    p = (1 + least) / (1 + PERMUTATIONS)
    low, high = interval
    explanation = (
        f"Krippendorff's alpha is {value:.2f} [{low:.2f}, {high:.2f}] on {shared} items "
        f"(0 is chance, 1 is full agreement); p = {p:.2g} when answers are put on items by chance"
    )
    figures = {"alpha": value, "low": low, "high": high, "p": p, "items": shared}
    return Control(name, p < 0.05, explanation, figures)
