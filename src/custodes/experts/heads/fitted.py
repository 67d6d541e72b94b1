"""A head fitted to features, and what it is worth: the pure part of `fit_head`.

Everything is split by prompt: two pairs of one prompt, which may even share an answer, never stand
on both sides of a split.

Shapes: N pairs, F features, 2 answers of which the first was chosen.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from custodes.conversation import PreferencePair
from custodes.experts.heads.card import Bounds, HeldOut, Twins
from custodes.experts.heads.platt import Platt, brier_score, calibration_error, pairwise_scale
from custodes.experts.heads.ridge import (
    RIDGES,
    best_ridge,
    fold_numbers,
    held_out_margins,
    nested_margins,
    ridge_weights,
)
from custodes.models.base import Array

__all__ = ["FOLDS", "Fitted", "Part", "fit_features", "part_of", "prompt_key"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Part = Literal["all", "a", "b"]

FOLDS = 10
TWINS = 200
RESAMPLES = 4000

# Twins of a sound fit are right half the time, exactly; the mean of this many is within some
# thousandths of it. Where a label has leaked they remember it, and are off by a tenth or more.
_TWINS_OFF = 0.02

# Lengths within a quarter of each other count as matched.
_MATCHED = 1.25


@dataclass(frozen=True)
class Fitted:
    """A head before it has a name.

    Attributes:
        weights: By feature, in logits of a preference; shape (F,).
        bias: What makes the average answer of the data score 0.
        platt: From scores to ratings.
        ridge: The strength that was chosen.
        pairs: Pairs it was fitted on.
        prompts: Prompts these belong to.
        held_out: What it is worth.
        failures: Names of the controls that failed.
    """

    weights: Floats
    bias: float
    platt: Platt
    ridge: float
    pairs: int
    prompts: int
    held_out: HeldOut
    failures: tuple[str, ...]


def fit_features(
    features_N2F: Array,
    pairs: Sequence[PreferencePair],
    blocks: int,
    *,
    part: Part = "all",
    share: float = 0.5,
    seed: int = 0,
) -> Fitted:
    """Fit and measure.

    Args:
        features_N2F: Features of the chosen and of the rejected answer.
        pairs: The pairs, for their prompts, lengths and agreement.
        blocks: How many readings the features consist of; each gets the same say.
        part: Which prompts to fit on; the others, if any, are measured on.
        share: Of the prompts, how many are in part "a"; the others are in "b".
        seed: Of folds, twins and bootstrap.
    """
    mine_N = np.array([part in ("all", part_of(pair, share)) for pair in pairs])
    kept = [pair for pair, mine in zip(pairs, mine_N, strict=True) if mine]
    groups = [prompt_key(pair) for pair in kept]
    importance_N = np.array([pair.agreement for pair in kept])
    importance_N /= importance_N.mean()
    scale_F = _scale(features_N2F[mine_N], blocks)
    scaled_N2F = features_N2F[mine_N] * scale_F
    difference_NF = scaled_N2F[:, 0] - scaled_N2F[:, 1]
    gram_NN = difference_NF @ difference_NF.T
    fold_N = fold_numbers(groups, FOLDS, seed)

    ridge = RIDGES[best_ridge(held_out_margins(gram_NN, importance_N, fold_N, RIDGES)[:, 0])]
    score_N2 = _held_out_scores(scaled_N2F, importance_N, fold_N, ridge)
    unit = pairwise_scale(score_N2[:, 0] - score_N2[:, 1])
    weight_F = ridge_weights(difference_NF, importance_N, ridge) * unit * scale_F
    others_N2 = features_N2F[~mine_N] @ weight_F
    held_out = _measure(
        nested_margins(gram_NN, importance_N, groups, folds=FOLDS, seed=seed),
        kept,
        others_N2[:, 0] - others_N2[:, 1],
        [pair for pair, mine in zip(pairs, mine_N, strict=True) if not mine],
        _twins(gram_NN, importance_N, fold_N, ridge, seed),
        score_N2 * unit,
        fold_N,
        seed,
    )
    return Fitted(
        weights=weight_F,
        bias=-float(features_N2F[mine_N].mean(axis=(0, 1), dtype=np.float64) @ weight_F),
        platt=Platt.fit(*(score_N2 * unit).T),
        ridge=ridge,
        pairs=len(kept),
        prompts=len(set(groups)),
        held_out=held_out,
        failures=_failures(held_out),
    )


def prompt_key(pair: PreferencePair) -> str:
    """Return what pairs of one prompt share: how its first message begins, in plain words.

    Dialogues that begin alike count as one prompt, since they may go on alike.
    """
    words = re.findall(r"\w+", pair.prompt[0]["content"].lower())
    return " ".join(words[:24])


def part_of(pair: PreferencePair, share: float = 0.5) -> Part:
    """Tell which part a pair's prompt belongs to, by a hash that no other pair changes."""
    digest = hashlib.sha256(prompt_key(pair).encode()).digest()
    return "a" if int.from_bytes(digest[:4], "big") < share * 2**32 else "b"


def _scale(features_N2F: Array, blocks: int) -> Floats:
    """Scale features to unit spread, and blocks so that all differences have length 1 on average.

    No label is used.
    """
    scale_F = 1 / (features_N2F.std(axis=(0, 1), dtype=np.float64) + 1e-6)
    difference_NF = (features_N2F[:, 0] - features_N2F[:, 1]) * scale_F
    square_B = (difference_NF**2).mean(axis=0).reshape(blocks, -1).sum(axis=1)
    return np.asarray(scale_F / np.repeat(np.sqrt(blocks * square_B), len(scale_F) // blocks))


def _held_out_scores(
    scaled_N2F: Floats, importance_N: Floats, fold_N: Integers, ridge: float
) -> Floats:
    """Score both answers of each pair with a fit that saw no pair of its fold; shape (N, 2)."""
    score_N2 = np.zeros(scaled_N2F.shape[:2])
    for fold in np.unique(fold_N):
        seen, unseen = fold_N != fold, fold_N == fold
        difference_SF = scaled_N2F[seen, 0] - scaled_N2F[seen, 1]
        weight_F = ridge_weights(difference_SF, importance_N[seen], ridge)
        # 0 is the average answer of the fit's own data, so that folds can be put together.
        average = scaled_N2F[seen].mean(axis=(0, 1)) @ weight_F
        score_N2[unseen] = scaled_N2F[unseen] @ weight_F - average
    return score_N2


def _held_out_ratings(score_N2: Floats, fold_N: Integers) -> Floats:
    """Rate both answers of each pair by a curve that was fitted to the other folds."""
    rating_N2 = np.zeros_like(score_N2)
    for fold in np.unique(fold_N):
        seen, unseen = fold_N != fold, fold_N == fold
        rating_N2[unseen] = Platt.fit(*score_N2[seen].T)(score_N2[unseen])
    return rating_N2


def _twins(
    gram_NN: Floats, importance_N: Floats, fold_N: Integers, ridge: float, seed: int
) -> Twins:
    """Fit to labels that were shuffled within each pair; held-out accuracy on the same labels."""
    rng = np.random.default_rng([seed, 1])
    label_TN = rng.choice([-1.0, 1.0], size=(TWINS, len(fold_N)))
    margin_TN = held_out_margins(gram_NN, importance_N, fold_N, [ridge], label_TN)[0] * label_TN
    right_T = _right(margin_TN).mean(axis=1)
    return Twins(
        mean=round(float(right_T.mean()), 4),
        low=round(float(right_T.min()), 4),
        high=round(float(right_T.max()), 4),
        twins=TWINS,
    )


def _measure(
    margin_N: Floats,
    pairs: Sequence[PreferencePair],
    other_margin_M: Floats,
    others: Sequence[PreferencePair],
    twins: Twins,
    score_N2: Floats,
    fold_N: Integers,
    seed: int,
) -> HeldOut:
    matched = [i for i, pair in enumerate(pairs) if _length_matched(pair)]
    ratings = _held_out_ratings(score_N2, fold_N).ravel()
    labels = np.tile([1.0, 0.0], len(pairs))
    return HeldOut(
        accuracy=_accuracy(margin_N, pairs, seed),
        other_part=_accuracy(other_margin_M, others, seed) if others else None,
        length_matched=_accuracy(margin_N[matched], [pairs[i] for i in matched], seed)
        if matched
        else None,
        longer=round(float(_right(np.array([_longer(pair) for pair in pairs])).mean()), 4),
        shuffled=twins,
        brier=round(brier_score(ratings, labels), 4),
        calibration_error=round(calibration_error(ratings, labels), 4),
    )


def _accuracy(margin_N: Floats, pairs: Sequence[PreferencePair], seed: int) -> Bounds:
    """Return the share of right pairs, with a bootstrap over prompts (95%, percentiles)."""
    names, at_N = np.unique([prompt_key(pair) for pair in pairs], return_inverse=True)
    right_P = np.bincount(at_N, weights=_right(margin_N))
    pairs_P = np.bincount(at_N)
    rng = np.random.default_rng([seed, 2])
    # How often each prompt was drawn: whole prompts are resampled, with all their pairs.
    drawn_RP = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
    low, high = np.quantile((drawn_RP @ right_P) / (drawn_RP @ pairs_P), [0.025, 0.975])
    return Bounds(
        value=round(float(right_P.sum() / pairs_P.sum()), 4),
        low=round(float(low), 4),
        high=round(float(high), 4),
        pairs=len(pairs),
        prompts=len(names),
    )


def _right(margin_N: Floats) -> Floats:
    """Return 1 where the chosen answer scores higher, 0.5 where both score the same."""
    return np.asarray(0.5 * (np.sign(margin_N) + 1))


def _longer(pair: PreferencePair) -> int:
    return len(pair.chosen) - len(pair.rejected)


def _length_matched(pair: PreferencePair) -> bool:
    short, long = sorted((len(pair.chosen), len(pair.rejected)))
    return long <= _MATCHED * short


def _failures(held_out: HeldOut) -> tuple[str, ...]:
    failed = {
        "held-out accuracy": held_out.accuracy.low <= 0.5,
        "shuffled labels": abs(held_out.shuffled.mean - 0.5) > _TWINS_OFF,
    }
    return tuple(name for name, is_so in failed.items() if is_so)
