"""Preference pairs as a reward model reads them: with soft labels and margins."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from custodes.control import Control
from custodes.conversation import PreferencePair
from custodes.errors import DataError
from custodes.seeds import derive

__all__ = ["RewardPair", "labels_control", "reward_pairs", "split_by_prompt"]

_ONE_WAY = 0.95
"""Share from which labels are taken to be all one way."""


@dataclass(frozen=True)
class RewardPair(PreferencePair):
    """A preference pair with how sure and how large the preference is.

    Attributes:
        probability: Soft label: probability that ``chosen`` is the better answer, in [0, 1].
        margin: By how much the chosen answer's score must exceed the other's, in logits, >= 0;
            from a ranking, say.
        shown_first: Whether the rater saw the chosen answer first; None if nobody knows. A rater
            who always takes the first (or second) answer says nothing about answers.
    """

    probability: float = 1.0
    margin: float = 0.0
    shown_first: bool | None = None


def reward_pairs(pairs: Sequence[PreferencePair]) -> list[RewardPair]:
    """Take pairs of either kind, and check them; of a plain pair the agreement is the soft label.

    Raises:
        DataError: A pair's answers are the same, a probability or margin is out of range, or there
            are none. The message names the pair.
    """
    if not pairs:
        raise DataError("there are no preference pairs", "label some first")
    checked = []
    for at, given in enumerate(pairs):
        pair = (
            given
            if isinstance(given, RewardPair)
            else RewardPair(
                **{f.name: getattr(given, f.name) for f in fields(PreferencePair)},
                probability=given.agreement,
            )
        )
        name = f"pair {at} ({pair.id})"
        if pair.chosen == pair.rejected:
            raise DataError(f"{name} has the same answer twice", "leave it out")
        if not (math.isfinite(pair.probability) and 0 <= pair.probability <= 1):
            raise DataError(f"{name} has probability {pair.probability}", "give one in [0, 1]")
        if not (math.isfinite(pair.margin) and pair.margin >= 0):
            raise DataError(f"{name} has margin {pair.margin}", "give a finite one, 0 or more")
        checked.append(pair)
    return checked


def prompt_key(pair: PreferencePair) -> str:
    """Return what pairs of one prompt have in common."""
    return repr([(turn["role"], turn["content"]) for turn in pair.prompt])


def split_by_prompt(
    pairs: Sequence[RewardPair], share: float, seed: int
) -> tuple[list[int], list[int]]:
    """Hold out a share of the prompts, with all their pairs.

    Returns:
        Indices of the pairs to train on, and of those that are held out.

    Raises:
        DataError: There are fewer than 4 prompts.
    """
    keys = [prompt_key(pair) for pair in pairs]
    prompts = sorted(set(keys))
    if len(prompts) < 4:
        raise DataError(
            f"the pairs have {len(prompts)} prompts", "accuracy by prompt needs 4 or more"
        )
    count = min(max(round(share * len(prompts)), 2), len(prompts) - 2)
    order = np.random.default_rng(derive(seed, "held out")).permutation(len(prompts))
    out = {prompts[int(i)] for i in order[:count]}
    return (
        [i for i, key in enumerate(keys) if key not in out],
        [i for i, key in enumerate(keys) if key in out],
    )


def labels_control(pairs: Sequence[RewardPair]) -> Control:
    """Check that labels are not all one way: one position, one length, one text, or no opinion."""
    n = len(pairs)
    preferred = [(p.chosen, p.rejected) if p.probability >= 0.5 else (p.rejected, p.chosen)
                 for p in pairs]  # fmt: skip
    shown = [p.shown_first == (p.probability >= 0.5) for p in pairs if p.shown_first is not None]
    unequal = [(len(a), len(b)) for a, b in preferred if len(a) != len(b)]
    longer = float(np.mean([a > b for a, b in unequal])) if unequal else 0.5
    common = Counter(a for a, _ in preferred).most_common(1)[0][1] / n
    unsure = float(np.mean([abs(p.probability - 0.5) < 1e-6 for p in pairs]))
    figures = {
        "shown_first": float(np.mean(shown)) if shown else None,
        "longer": longer,
        "same_text": common,
        "undecided": unsure,
    }
    if n < 8:
        return Control("reward labels are not all one way", None, f"there are {n} pairs", figures)
    wrong = [
        what
        for what, bad in (
            ("one position", bool(shown) and not 1 - _ONE_WAY < np.mean(shown) < _ONE_WAY),
            ("one length", bool(unequal) and not 1 - _ONE_WAY < longer < _ONE_WAY),
            ("one text", common > 0.5),
            ("no opinion", unsure > 0.5),
        )
        if bad
    ]
    positions = f"{figures['shown_first']:.0%}" if shown else "an unknown share"
    return Control(
        "reward labels are not all one way",
        not wrong,
        f"of {n} preferred answers {positions} were shown first, {longer:.0%} are the longer one "
        f"(each must lie between {1 - _ONE_WAY:.0%} and {_ONE_WAY:.0%}), {common:.0%} are the same "
        f"text, and {unsure:.0%} of the pairs are undecided (each at most 50%)"
        + (f"; all for {' and '.join(wrong)}" if wrong else ""),
        figures,
    )
