"""The reward model: a number in [0, 1] for an answer, learnt from preferences."""

from custodes.training.reward.fit import RewardResult, fit_reward
from custodes.training.reward.model import RewardModel, load_reward
from custodes.training.reward.options import RewardOptions
from custodes.training.reward.pairs import RewardPair

__all__ = [
    "RewardModel",
    "RewardOptions",
    "RewardPair",
    "RewardResult",
    "fit_reward",
    "load_reward",
]
