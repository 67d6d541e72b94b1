"""How to train by reinforcement learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from custodes.conversation import Chat
from custodes.errors import ConfigError

__all__ = ["PpoOptions", "RlOptions", "check_prompts"]


@dataclass(frozen=True)
class OnlineOptions:
    """What every method has that trains on the model's own completions.

    Attributes:
        steps: Optimizer steps.
        batch: Completions a step.
        samples: Completions of one prompt; ``batch / samples`` prompts a step.
        learning_rate: Learning rate at the first step; it falls linearly to 0.
        max_tokens: Longest completion, in tokens.
        temperature: Sampling temperature.
        reward_sign: +1 maximises the reward, -1 minimises it (the sign-flip experiment).
        kl_sign: +1 penalises leaving the reference, -1 rewards it.
        beta: Weight of the KL penalty.
        evaluate_every: Steps between held-out measurements.
        stop: Whether the training stops once gold falls beyond noise while the reward rises.
        stop_level: Probability, at most, that noise alone ever stops the training.
        preflight: Whether one real step is checked, and taken back, before the training.
        seed: Draws prompts and completions.
    """

    steps: Annotated[int, Field(ge=1)] = 100
    batch: Annotated[int, Field(ge=2)] = 32
    samples: Annotated[int, Field(ge=1)] = 1
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-4
    max_tokens: Annotated[int, Field(ge=1)] = 48
    temperature: Annotated[float, Field(gt=0, le=10)] = 1.0
    reward_sign: Literal[1, -1] = 1
    kl_sign: Literal[1, -1] = 1
    beta: Annotated[float, Field(ge=0)] = 0.05
    evaluate_every: Annotated[int, Field(ge=1)] = 10
    stop: bool = True
    stop_level: Annotated[float, Field(gt=0, lt=1)] = 0.05
    preflight: bool = True
    seed: int = 0


@dataclass(frozen=True)
class PpoOptions(OnlineOptions):
    """Proximal policy optimisation.

    Attributes:
        steps: Steps; each samples ``batch`` completions, scores them and trains on them.
        epochs: Passes over a step's completions.
        minibatches: Optimizer steps a pass.
        temperature: Sampling temperature; log-probabilities are taken at the same.
        beta: Weight of the KL penalty, per nat; with ``target_kl`` only its first value.
        target_kl: KL divergence from the reference that an adaptive beta steers for, in nats a
            completion; 0 keeps beta fixed.
        horizon: Completions over which the adaptive beta reacts.
        gamma: Discount factor.
        gae_lambda: Lambda of generalised advantage estimation.
        clip: Range of the policy ratio, 1 ± clip; 0 switches clipping off.
        value_clip: Range in which a value may move from its old estimate; 0 switches it off.
        value_weight: Weight of the value loss.
        whiten_rewards: Whether rewards are scaled to unit variance over a step.
        whiten_advantages: Whether advantages are shifted and scaled to mean 0 and variance 1.
        max_grad_norm: Longer gradients are scaled down to it.
        evaluate_every: Steps between held-out measurements; also how often the state is kept.
        preflight: Whether signs, reference and one real step are checked before the training.
        seed: Draws prompts and completions, and initialises the value head.
    """

    epochs: Annotated[int, Field(ge=1)] = 2
    minibatches: Annotated[int, Field(ge=1)] = 1
    target_kl: Annotated[float, Field(ge=0)] = 0.0
    horizon: Annotated[int, Field(ge=1)] = 10_000
    gamma: Annotated[float, Field(ge=0, le=1)] = 1.0
    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 0.95
    clip: Annotated[float, Field(ge=0)] = 0.2
    value_clip: Annotated[float, Field(ge=0)] = 0.2
    value_weight: Annotated[float, Field(ge=0)] = 0.1
    whiten_rewards: bool = False
    whiten_advantages: bool = True
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0


@dataclass(frozen=True)
class RlOptions(OnlineOptions):
    """Reinforcement learning by a method of trl, or DPO on what the reward ranks.

    Attributes:
        beta: Weight of the KL penalty; for DPO, strength of the pull towards the reference.
    """

    samples: Annotated[int, Field(ge=2)] = 8


def check_prompts(settings: PpoOptions | RlOptions, chats: Sequence[Chat]) -> None:
    """Check that there are prompts, and a whole number of them a step.

    Raises:
        ConfigError: There are none, or ``samples`` does not divide ``batch``.
    """
    if not chats:
        raise ConfigError("there are no prompts to train on", "give chats")
    if settings.batch % settings.samples:
        raise ConfigError(
            f"{settings.batch} completions a step are no multiple of {settings.samples} samples",
            "choose a batch that samples divides",
        )
