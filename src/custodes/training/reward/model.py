"""A reward model: a base with an adapter and a linear head, read at the answer's last token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from custodes.conversation import Chat

__all__ = ["RewardModel", "load_reward"]


class RewardModel:
    """Scores answers; a `Reward` function for reinforcement learning.

    Attributes:
        folder: Where it is kept.
    """

    folder: Path

    def score(self, chats: Sequence[Chat], responses: Sequence[str]) -> NDArray[np.float64]:
        """Score ``responses[i]`` as the answer to ``chats[i]``: (n,), in [0, 1].

        0.5 is the average answer of the training pairs.
        """
        raise NotImplementedError

    def logits(self, chats: Sequence[Chat], responses: Sequence[str]) -> NDArray[np.float64]:
        """Return the scores before the sigmoid, (n,); the difference of two is a log-odds."""
        raise NotImplementedError

    def __call__(self, chats: Sequence[Chat], responses: Sequence[str]) -> list[float]:
        """Score answers, as reward functions do."""
        return self.score(chats, responses).tolist()


def load_reward(folder: Path) -> RewardModel:
    """Load a reward model that `fit_reward` wrote.

    Raises:
        ModelError: There is none, or its base is not here.
    """
    raise NotImplementedError
