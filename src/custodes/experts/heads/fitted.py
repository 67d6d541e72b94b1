"""A head fitted to features, and what it is worth: the pure part of `fit_head`.

Everything is split by prompt: two pairs of one prompt, which may even share an answer, never stand
on both sides of a split.

Shapes: N answers, P pairs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from custodes.conversation import Chat, PreferencePair
from custodes.experts.heads.card import Bounds, HeldOut, KindBounds, Twins
from custodes.experts.heads.platt import Platt, brier_score, calibration_error
from custodes.experts.heads.ridge import fold_numbers, held_out_margins
from custodes.experts.heads.scoring import Features, HeadWeights, scores
from custodes.experts.heads.stacking import PREFERENCE, Comparisons, fit_head_weights
from custodes.experts.validity.battery import floors, share_right, validity_control

__all__ = ["FOLDS", "Fitted", "Part", "Task", "fit_task", "part_of", "prompt_key"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Part = Literal["all", "a", "b"]

FOLDS = 5
TWINS = 200

# Twins of a sound fit are right half the time, exactly; the mean of this many is within some
# thousandths of it. Where a label has leaked they remember it, and are off by a tenth or more.
_TWINS_OFF = 0.02

# Lengths within a quarter of each other count as matched.
_MATCHED = 1.25


@dataclass(frozen=True)
class Task:
    """What a head is fitted to.

    Attributes:
        features: Of N answers.
        texts: The answers; only their lengths are used. Length N.
        groups: The prompt that each answers (`prompt_key`). Length N.
        comparisons: Which answer is better than which.
        harmful: By answer, 1 or 0 where its prompt is known to ask for harm or not, else NaN.
        blocks: Readings that the hidden features consist of.
        domain: What is judged.
    """

    features: Features
    texts: Sequence[str]
    groups: Sequence[str]
    comparisons: Comparisons
    harmful: Floats
    blocks: int
    domain: str


@dataclass(frozen=True)
class Fitted:
    """A head before it has a name.

    Attributes:
        weights: Its numbers.
        platt: From scores to ratings.
        ridge: The strength that was chosen for the preference.
        pairs: People's pairs it was fitted on.
        prompts: Prompts these belong to.
        held_out: What it is worth.
        failures: Names of the controls that failed.
    """

    weights: HeadWeights
    platt: Platt
    ridge: float
    pairs: int
    prompts: int
    held_out: HeldOut
    failures: tuple[str, ...]


def fit_task(task: Task, *, part: Part = "all", share: float = 0.5, seed: int = 0) -> Fitted:
    """Fit and measure.

    Args:
        task: What to fit to.
        part: Which prompts to fit on; the others, if any, are measured on.
        share: Of the prompts, how many are in part "a"; the others are in "b".
        seed: Deals folds, shuffles twins and draws the bootstrap.
    """
    every = task.comparisons
    mine_P = np.array(
        [part in ("all", key_part(task.groups[row], share)) for row in every.better.tolist()]
    )
    mine, others = every.only(mine_P), every.only(~mine_P)
    weights, ridge = _fit(task, mine, seed)

    # Cross-validation: each answer is scored by a fit that saw no answer to its prompt.
    names = [task.groups[row] for row in mine.better.tolist()]
    fold_P = fold_numbers(names, FOLDS, seed)
    margin_P = np.zeros(len(mine))
    score_P2 = np.zeros((len(mine), 2))
    for fold in np.unique(fold_P):
        seen, unseen = fold_P != fold, fold_P == fold
        held, _ = _fit(task, mine.only(seen), seed + 1)
        score_P2[unseen] = _pair_scores(held, task, mine.only(unseen))
    margin_P = score_P2[:, 0] - score_P2[:, 1]
    other_P2 = _pair_scores(weights, task, others)
    people = mine.are({PREFERENCE})
    platt = Platt.fit(*score_P2[people].T)
    held_out = _measure(
        task,
        mine,
        margin_P,
        others,
        other_P2[:, 0] - other_P2[:, 1],
        _twins(task, mine.only(people), ridge, seed),
        score_P2[people],
        fold_P[people],
        seed,
    )
    return Fitted(
        weights=weights,
        platt=platt,
        ridge=ridge,
        pairs=int(people.sum()),
        prompts=len({name for name, p in zip(names, people, strict=True) if p}),
        held_out=held_out,
        failures=_failures(held_out, task.domain),
    )


def _fit(task: Task, comparisons: Comparisons, seed: int) -> tuple[HeadWeights, float]:
    """Fit on the answers of some comparisons alone: others do not even set the scales."""
    rows = np.unique(np.concatenate([comparisons.better, comparisons.worse]))
    at = np.full(len(task.texts), -1)
    at[rows] = np.arange(len(rows))
    return fit_head_weights(
        task.features[rows],
        [task.groups[row] for row in rows.tolist()],
        Comparisons(
            at[comparisons.better], at[comparisons.worse], comparisons.kind, comparisons.importance
        ),
        task.harmful[rows],
        task.blocks,
        floors(task.domain),
        seed=seed,
    )


def _pair_scores(weights: HeadWeights, task: Task, comparisons: Comparisons) -> Floats:
    """Score both answers of each pair; shape (P, 2)."""
    if not len(comparisons):
        return np.zeros((0, 2))
    rows, at = np.unique(
        np.stack([comparisons.better, comparisons.worse], axis=1), return_inverse=True
    )
    return scores(weights, task.features[rows])[at.reshape(-1, 2)]


def prompt_key(chat: Chat) -> str:
    """Return what answers to one prompt share: how its first message begins, in plain words.

    Dialogues that begin alike count as one prompt, since they may go on alike.
    """
    words = re.findall(r"\w+", chat[0]["content"].lower())
    return " ".join(words[:24])


def part_of(pair: PreferencePair, share: float = 0.5) -> Part:
    """Tell which part a pair's prompt belongs to, by a hash that no other pair changes."""
    return key_part(prompt_key(pair.prompt), share)


def key_part(key: str, share: float) -> Part:
    """Tell which part a prompt belongs to, by its key."""
    digest = hashlib.sha256(key.encode()).digest()
    return "a" if int.from_bytes(digest[:4], "big") < share * 2**32 else "b"


def _held_out_ratings(score_N2: Floats, fold_N: Integers) -> Floats:
    """Rate both answers of each pair by a curve that was fitted to the other folds."""
    rating_N2 = np.zeros_like(score_N2)
    for fold in np.unique(fold_N):
        seen, unseen = fold_N != fold, fold_N == fold
        rating_N2[unseen] = Platt.fit(*score_N2[seen].T)(score_N2[unseen])
    return rating_N2


def _twins(task: Task, people: Comparisons, ridge: float, seed: int) -> Twins:
    """Fit to labels that were shuffled within each pair; held-out accuracy on the same labels."""
    rng = np.random.default_rng([seed, 1])
    hidden_NF = task.features.hidden.astype(np.float64)
    spread_F = hidden_NF.std(axis=0) + 1e-6
    difference_PF = (hidden_NF[people.better] - hidden_NF[people.worse]) / spread_F
    difference_PF /= np.sqrt((difference_PF**2).sum(axis=1).mean())
    fold_P = fold_numbers([task.groups[row] for row in people.better.tolist()], FOLDS, seed)
    label_TP = rng.choice([-1.0, 1.0], size=(TWINS, len(people)))
    margin_TP = held_out_margins(
        difference_PF @ difference_PF.T, np.ones(len(people)), fold_P, [ridge], label_TP
    )[0]
    right_T = (0.5 * (np.sign(margin_TP * label_TP) + 1)).mean(axis=1)
    return Twins(
        mean=round(float(right_T.mean()), 4),
        low=round(float(right_T.min()), 4),
        high=round(float(right_T.max()), 4),
        twins=TWINS,
    )


def _measure(
    task: Task,
    mine: Comparisons,
    margin_P: Floats,
    others: Comparisons,
    other_margin_P: Floats,
    twins: Twins,
    score_P2: Floats,
    fold_P: Integers,
    seed: int,
) -> HeldOut:
    people_P, other_people_P = mine.are({PREFERENCE}), others.are({PREFERENCE})
    people = mine.only(people_P)
    length_P2 = np.array(
        [
            (len(task.texts[b]), len(task.texts[w]))
            for b, w in zip(people.better.tolist(), people.worse.tolist(), strict=True)
        ]
    )
    matched_P = length_P2.max(axis=1) <= _MATCHED * length_P2.min(axis=1)
    ratings = _held_out_ratings(score_P2, fold_P).ravel()
    labels = np.tile([1.0, 0.0], len(score_P2))
    people_margin_P = margin_P[people_P]
    return HeldOut(
        accuracy=_bounds(task, people, people_margin_P, seed),
        other_part=_bounds(task, others.only(other_people_P), other_margin_P[other_people_P], seed)
        if other_people_P.any()
        else None,
        length_matched=_bounds(task, people.only(matched_P), people_margin_P[matched_P], seed)
        if matched_P.any()
        else None,
        longer=round(float((0.5 * (np.sign(length_P2[:, 0] - length_P2[:, 1]) + 1)).mean()), 4),
        shuffled=twins,
        brier=round(brier_score(ratings, labels), 4),
        calibration_error=round(calibration_error(ratings, labels), 4),
        validity=tuple(
            KindBounds(
                kind=kind, **_bounds(task, mine.only(which), margin_P[which], seed).model_dump()
            )
            for kind in sorted(set(mine.kind) - {PREFERENCE})
            for which in [mine.are({kind})]
        ),
    )


def _bounds(task: Task, pairs: Comparisons, margin_P: Floats, seed: int) -> Bounds:
    """Return the share of right pairs, with a bootstrap over prompts."""
    names = [task.groups[row] for row in pairs.better.tolist()]
    share, low, high, prompts = share_right(margin_P, names, seed)
    return Bounds(
        value=round(share, 4),
        low=round(low, 4),
        high=round(high, 4),
        pairs=len(pairs),
        prompts=prompts,
    )


def _failures(held_out: HeldOut, domain: str) -> tuple[str, ...]:
    failed = {
        "held-out accuracy": held_out.accuracy.low <= 0.5,
        "shuffled labels": abs(held_out.shuffled.mean - 0.5) > _TWINS_OFF,
    }
    for kind in held_out.validity:
        control = validity_control(kind.kind, domain, kind.value, kind.low, kind.high, kind.prompts)
        failed[control.name] = control.passed is False
    return tuple(name for name, is_so in failed.items() if is_so)
