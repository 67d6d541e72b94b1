"""Preference pairs as a reward model reads them: with soft labels and margins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from custodes.conversation import PreferencePair

__all__ = ["RewardPair", "reward_pairs"]


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
    """Take pairs of either kind, and check them.

    Raises:
        DataError: A pair's answers are the same, a probability or margin is out of range, or there
            are none. The message names the pair.
    """
    raise NotImplementedError
