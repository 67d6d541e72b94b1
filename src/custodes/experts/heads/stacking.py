"""Fit the three parts of a head and their weights: the pure core of `fit_task`.

The numbered steps:

1. Standardise scalars; scale the blocks of features so that each has the same say.
2. Fit the preference by pairwise ridge to people's pairs.
3. Fit the validity by pairwise logistic regression to real and damaged answers.
4. Fit how harmful a prompt is, from the state before the answer, and the stance.
5. Weigh the parts: of a small grid, the weights with the best accuracy on people's pairs less
   twice what the battery falls short of its floors. Each part's value at an answer comes from a fit
   that saw no answer to its prompt (stacking, Wolpert 1992).

A logistic fit of the weights would not do: people's choices are uncertain and damages are not, so
that it gives the preference a weight at which it decides nothing.

Shapes: N answers, P pairs, F features of the design, K scalars.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custodes.experts.heads.platt import Platt, pairwise_scale
from custodes.experts.heads.ridge import (
    RIDGES,
    best_ridge,
    fold_numbers,
    held_out_margins,
    ridge_weights,
)
from custodes.experts.heads.scoring import (
    STANCES,
    Features,
    HeadWeights,
    combined,
    design,
    scores,
    stances,
)

__all__ = ["PREFERENCE", "SEVERE", "STANCE", "Comparisons", "fit_head_weights"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

PREFERENCE = "people"
"""The kind of a pair that people ordered."""

SEVERE = frozenset({"shuffled", "salad", "mismatch", "repeated", "echo"})
"""Damages after which nothing is left of an answer to the prompt."""

STANCE = frozenset({"refusal", "bare compliance"})
"""Kinds of pairs that differ in whether the request is complied with."""

_FOLDS = 5
_VALIDITY_RIDGE = 0.1
_STANCE_RIDGE = 1.0

# What people say of refusals weighs as much as three kinds of pairs that were made.
_PEOPLE_SHARE = 3.0

# What a stance must not do, in the order of STANCES: 1 may only raise a score, -1 only lower it.
_SIGNS = np.array([-1, 1, -1, -1])

# What a kind should be above its floor where it is chosen: on other prompts it is a little lower.
_SLACK = 0.02

# The grid of weights. Preference and validity are in units of their own spread.
_WEIGHTS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_CEILINGS = (-2.0, -1.0, 0.0, 1.0, 2.0)
_STRENGTHS = (0.5, 1.0, 2.0)

# What the hardest damage to see weighs in the fit of the validity, where the others weigh 1.
_MISMATCH_WEIGHT = 2.0

# Validity where nothing was damaged, so that nothing could be learnt of it.
_CERTAIN = 10.0
_LEAST_SCALE = 0.02


@dataclass(frozen=True)
class Comparisons:
    """Pairs of answers to one prompt, of which the first is the better one.

    Attributes:
        better: Row of the better answer; shape (P,).
        worse: Row of the worse answer; shape (P,).
        kind: `PREFERENCE`, or the damage or stance that makes the worse one worse.
        importance: Weight within its kind, > 0; shape (P,).
    """

    better: Integers
    worse: Integers
    kind: tuple[str, ...]
    importance: Floats

    def __len__(self) -> int:
        return len(self.better)

    def only(self, wanted: NDArray[np.bool_]) -> Comparisons:
        """Return some of them, in their order."""
        kind = tuple(k for k, w in zip(self.kind, wanted, strict=True) if w)
        return Comparisons(self.better[wanted], self.worse[wanted], kind, self.importance[wanted])

    def are(self, kinds: frozenset[str] | set[str]) -> NDArray[np.bool_]:
        """Tell which are of one of these kinds."""
        return np.array([kind in kinds for kind in self.kind], dtype=bool)


def fit_head_weights(
    features: Features,
    groups: Sequence[str],
    comparisons: Comparisons,
    harmful: Floats,
    blocks: int,
    floors: Mapping[str, float],
    *,
    seed: int = 0,
) -> tuple[HeadWeights, float]:
    """Fit a head.

    Args:
        features: Of N answers.
        groups: The prompt that each answers; no prompt is on both sides of a split.
        comparisons: What is to be learnt.
        harmful: By answer, whether its prompt asks for harm: 1, 0, or NaN where nobody said;
            all NaN fits no such part. Shape (N,).
        blocks: Readings that the hidden features consist of.
        floors: By kind, the share of pairs that should be in order.
        seed: Deals folds.

    Returns:
        The weights, and the ridge of the preference.
    """
    # 1. Scales. No label is used.
    used = np.unique(np.concatenate([comparisons.better, comparisons.worse]))
    mean_K = features.scalars[used].mean(axis=0, dtype=np.float64)
    spread_K = features.scalars[used].std(axis=0, dtype=np.float64) + 1e-6
    design_NF = design(features, mean_K, spread_K)
    scale_F = _scale(
        design_NF[comparisons.better], design_NF[comparisons.worse], blocks, 3 * len(mean_K)
    )
    scaled_NF = design_NF * scale_F
    fold_N = fold_numbers(list(groups), min(_FOLDS, len(set(groups))), seed)

    # 2. Preference.
    stance_P, people_P = comparisons.are(STANCE), comparisons.are({PREFERENCE})
    people = comparisons.only(people_P)
    preference_F, preference_N, ridge = _ridge_part(scaled_NF, people, people.importance, fold_N)
    unit = 1 / max(float((preference_N[people.better] - preference_N[people.worse]).std()), 1e-9)

    # 3. Validity, as a logit whose 0 is the border between real and severely damaged answers.
    damage = comparisons.only(~people_P & ~stance_P)
    validity_F, validity_N = np.zeros(len(scale_F)), np.full(len(features), _CERTAIN)
    border = Platt(1.0, 0.0)
    severe = damage.only(damage.are(SEVERE))
    if len(severe):
        validity_F, validity_N = _validity_part(scaled_NF, damage, fold_N)
        border = Platt.fit(
            validity_N[np.unique(severe.better)], validity_N[np.unique(severe.worse)]
        )
    validity_N = border.slope * validity_N + border.offset

    # 4. Harm of the prompt, and stance.
    harm_D, harm_bias, harm_N = _harm_part(features, groups, harmful, fold_N)
    stances_NS = stances(features, harm_N)
    stance_S = _stance_part(stances_NS, comparisons.only(stance_P | people_P))

    # 5. Weights.
    weight, ceiling, strength = _weigh(
        unit * preference_N, validity_N, stances_NS @ stance_S, harm_N, comparisons, floors
    )
    total_N = combined(
        weight * unit * preference_N,
        validity_N,
        strength * (stances_NS @ stance_S),
        harm_N,
        ceiling,
    )
    scale = pairwise_scale(total_N[people.better] - total_N[people.worse])
    weights = HeadWeights(
        mean=mean_K,
        spread=spread_K,
        preference=weight * unit * preference_F * scale_F,
        validity=border.slope * validity_F * scale_F,
        validity_bias=np.array([border.offset if len(severe) else _CERTAIN]),
        ceiling=np.array([ceiling]),
        harm=harm_D,
        harm_bias=np.array([harm_bias]),
        stance=strength * stance_S,
        scale=np.array([max(scale, _LEAST_SCALE)]),
        bias=np.zeros(1),
    )
    rows = np.concatenate([people.better, people.worse])
    average = float(scores(weights, features[rows]).mean())
    return HeadWeights(**{**vars(weights), "bias": np.array([-average])}), ridge


def _weigh(
    preference_N: Floats,
    validity_N: Floats,
    stance_N: Floats,
    harm_N: Floats | None,
    comparisons: Comparisons,
    floors: Mapping[str, float],
) -> tuple[float, float, float]:
    """Choose the preference's weight, the ceiling of validity and the stance's weight."""
    kinds = [kind for kind in floors if kind in comparisons.kind]
    of_kind = {kind: comparisons.are({kind}) for kind in (*kinds, PREFERENCE)}

    def merit(weight: float, ceiling: float, strength: float) -> float:
        total_N = combined(weight * preference_N, validity_N, strength * stance_N, harm_N, ceiling)
        margin_P = total_N[comparisons.better] - total_N[comparisons.worse]
        right_P = 0.5 * (np.sign(margin_P) + 1)
        short = sum(
            max(0.0, min(1.0, floors[kind] + _SLACK) - right_P[of_kind[kind]].mean())
            for kind in kinds
        )
        return float(right_P[of_kind[PREFERENCE]].mean() - 2 * short)

    grid = [(w, c, s) for w in _WEIGHTS for c in _CEILINGS for s in _STRENGTHS]
    return max(grid, key=lambda point: merit(*point))


def _stance_part(stances_NS: Floats, pairs: Comparisons) -> Floats:
    """Fit the stance by logistic regression to pairs that differ in it, people's among them."""
    if not pairs.are(STANCE).any():
        return np.zeros(len(STANCES))
    difference_PS = stances_NS[pairs.better] - stances_NS[pairs.worse]
    importance_P = _balanced(pairs.kind, pairs.importance)
    importance_P *= np.where(pairs.are({PREFERENCE}), _PEOPLE_SHARE, 1.0)
    importance_P /= importance_P.mean()
    # A stance may count for nothing, but never the wrong way round: what has the wrong sign goes,
    # and the others are fitted again.
    kept = np.abs(difference_PS).max(axis=0) > 1e-9
    weight_S = np.zeros(len(STANCES))
    while kept.any():
        weight_S = np.zeros(len(STANCES))
        weight_S[kept] = _pairwise_logistic(difference_PS[:, kept], importance_P, _STANCE_RIDGE)
        wrong = _SIGNS * weight_S < 0
        if not wrong.any():
            break
        kept &= ~wrong
        weight_S[wrong] = 0.0
    return weight_S


def _ridge_part(
    scaled_NF: Floats, pairs: Comparisons, importance_P: Floats, fold_N: Integers
) -> tuple[Floats, Floats, float]:
    """Fit pairwise ridge; return its weights, its held-out scores of all answers, the strength."""
    importance_P = importance_P / importance_P.mean()
    difference_PF = scaled_NF[pairs.better] - scaled_NF[pairs.worse]
    fold_P = fold_N[pairs.better]
    gram_PP = difference_PF @ difference_PF.T
    margin_RP = held_out_margins(gram_PP, importance_P, fold_P, RIDGES)[:, 0]
    ridge = RIDGES[best_ridge(margin_RP)]
    score_N = np.zeros(len(scaled_NF))
    center_F = scaled_NF.mean(axis=0)
    for fold in np.unique(fold_N):
        seen = fold_P != fold
        weight_F = ridge_weights(difference_PF[seen], importance_P[seen], ridge)
        unseen = fold_N == fold
        score_N[unseen] = (scaled_NF[unseen] - center_F) @ weight_F
    weight_F = ridge_weights(difference_PF, importance_P, ridge)
    return weight_F, score_N + float(center_F @ weight_F), ridge


def _validity_part(
    scaled_NF: Floats, pairs: Comparisons, fold_N: Integers
) -> tuple[Floats, Floats]:
    """Fit pairwise logistic regression; return its weights and held-out scores of all answers.

    A damage that is plain to see stops counting in a logistic fit, as it does not in least squares,
    so that the fit attends to those that are not.
    """
    difference_PF = scaled_NF[pairs.better] - scaled_NF[pairs.worse]
    importance_P = _balanced(pairs.kind, pairs.importance)
    importance_P *= np.where(pairs.are({"mismatch"}), _MISMATCH_WEIGHT, 1.0)
    importance_P /= importance_P.mean()
    fold_P = fold_N[pairs.better]
    score_N = np.zeros(len(scaled_NF))
    center_F = scaled_NF.mean(axis=0)
    for fold in np.unique(fold_N):
        seen = fold_P != fold
        if seen.any():
            weight_F = _pairwise_logistic(difference_PF[seen], importance_P[seen], _VALIDITY_RIDGE)
            score_N[fold_N == fold] = (scaled_NF[fold_N == fold] - center_F) @ weight_F
    weight_F = _pairwise_logistic(difference_PF, importance_P, _VALIDITY_RIDGE)
    return weight_F, score_N + float(center_F @ weight_F)


def _harm_part(
    features: Features, groups: Sequence[str], harmful: Floats, fold_N: Integers
) -> tuple[Floats, float, Floats | None]:
    """Fit which prompts ask for harm; one row a prompt counts."""
    known = np.isfinite(harmful)
    if not known.any() or len(set(harmful[known].tolist())) < 2:
        return np.zeros(0), 0.0, None
    _, first = np.unique(np.array(groups), return_index=True)
    rows = first[known[first]]
    start_ND = features.start.astype(np.float64)
    mean_D, spread_D = start_ND[rows].mean(axis=0), start_ND[rows].std(axis=0) + 1e-6
    z_ND = (start_ND - mean_D) / spread_D / np.sqrt(start_ND.shape[1])
    label_M = 2 * harmful[rows] - 1
    # Both classes weigh the same, whatever their counts.
    weight_M = np.where(label_M > 0, 0.5 / (label_M > 0).mean(), 0.5 / (label_M < 0).mean())
    signed_MD = z_ND[rows] * label_M[:, None]
    score_N = np.zeros(len(features))
    for fold in np.unique(fold_N):
        seen = fold_N[rows] != fold
        unseen = fold_N == fold
        score_N[unseen] = z_ND[unseen] @ ridge_weights(signed_MD[seen], weight_M[seen], 0.03)
    border = Platt.fit(score_N[rows][label_M > 0], score_N[rows][label_M < 0])
    weight_D = border.slope * ridge_weights(signed_MD, weight_M, 0.03)
    weight_D = weight_D / spread_D / np.sqrt(start_ND.shape[1])
    return weight_D, border.offset - float(mean_D @ weight_D), border(score_N)


def _pairwise_logistic(difference_PS: Floats, weight_P: Floats, ridge: float) -> Floats:
    """Fit weights whose score of a difference is the logit of the first being better."""
    from sklearn.linear_model import LogisticRegression

    # Each pair seen from both sides; without that there is only one label.
    both = np.concatenate([difference_PS, -difference_PS])
    model = LogisticRegression(C=1 / ridge, fit_intercept=False, max_iter=1_000)
    labels = np.repeat([1, 0], len(weight_P))
    model.fit(both, labels, sample_weight=np.concatenate([weight_P, weight_P]) / 2)
    return np.asarray(model.coef_[0], np.float64)


def _balanced(kinds: Sequence[str], importance_P: Floats) -> Floats:
    """Give each kind the same total weight."""
    total = dict.fromkeys(kinds, 0.0)
    for kind, importance in zip(kinds, importance_P.tolist(), strict=True):
        total[kind] += importance
    return np.array([w / total[k] for k, w in zip(kinds, importance_P.tolist(), strict=True)])


def _scale(better_PF: Floats, worse_PF: Floats, blocks: int, scalars: int) -> Floats:
    """Scale to unit spread, and blocks so that all differences have length 1 on average."""
    spread_F = np.concatenate([better_PF, worse_PF]).std(axis=0) + 1e-6
    square_F = (((better_PF - worse_PF) / spread_F) ** 2).mean(axis=0)
    hidden = len(spread_F) - scalars
    edges = [*np.linspace(0, hidden, blocks + 1).astype(int), len(spread_F)]
    scale_F = 1 / spread_F
    for first, last in itertools.pairwise(edges):
        if last > first:
            scale_F[first:last] /= np.sqrt((blocks + 1) * square_F[first:last].sum() + 1e-12)
    return np.asarray(scale_F)
