"""Proximal policy optimisation (stub: the signatures are final, the algorithm follows)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from custodes.conversation import Chat
from custodes.models.base import LanguageModel
from custodes.progress import Progress, silent
from custodes.training.rl.result import RlResult
from custodes.training.rl.rewards import Reward

if TYPE_CHECKING:
    from custodes.training.lora import LoraModel

__all__ = ["PpoOptions", "train"]


@dataclass(frozen=True)
class PpoOptions:
    """Proximal policy optimisation.

    Attributes:
        steps: Steps; each samples ``batch`` completions, scores them and trains on them.
        batch: Completions a step.
        samples: Completions of one prompt within a step; ``batch / samples`` prompts a step.
        epochs: Passes over a step's completions.
        minibatches: Optimizer steps a pass.
        learning_rate: Learning rate at the first step; it falls linearly to 0.
        max_tokens: Longest completion, in tokens.
        temperature: Sampling temperature; log-probabilities are taken at the same.
        reward_sign: +1 maximises the reward, -1 minimises it (the sign-flip experiment).
        kl_sign: +1 penalises leaving the reference, -1 rewards it.
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
        stop: Whether the training stops once gold falls beyond noise while the reward rises.
        stop_level: Level of that one-sided test.
        preflight: Whether signs, reference and one real step are checked before the training.
        seed: Draws prompts and completions, and initialises the value head.
    """

    steps: Annotated[int, Field(ge=1)] = 100
    batch: Annotated[int, Field(ge=2)] = 32
    samples: Annotated[int, Field(ge=1)] = 1
    epochs: Annotated[int, Field(ge=1)] = 2
    minibatches: Annotated[int, Field(ge=1)] = 1
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-4
    max_tokens: Annotated[int, Field(ge=1)] = 48
    temperature: Annotated[float, Field(gt=0, le=10)] = 1.0
    reward_sign: Literal[1, -1] = 1
    kl_sign: Literal[1, -1] = 1
    beta: Annotated[float, Field(ge=0)] = 0.05
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
    evaluate_every: Annotated[int, Field(ge=1)] = 10
    stop: bool = True
    stop_level: Annotated[float, Field(gt=0, lt=1)] = 0.05
    preflight: bool = True
    seed: int = 0


def train(
    policy: LoraModel,
    reward: Reward,
    chats: Sequence[Chat],
    folder: Path,
    settings: PpoOptions,
    *,
    gold: Reward | None = None,
    held_out: Sequence[Chat] = (),
    sampler: Callable[[Path], LanguageModel] | None = None,
    progress: Progress = silent,
) -> RlResult:
    """Train an adapter to earn more reward, near the model that it was.

    The reference is the policy as it is passed, adapter and all. A training that was killed and is
    called again with the same arguments, the policy as it was at first, continues from the last
    kept state and ends with the same bytes.

    Args:
        policy: The SL model; its adapter is trained in place and ends as the kept checkpoint.
        reward: The reward function.
        chats: Prompts to train on; the last message is the user's.
        folder: Where the checkpoint (``adapter/``, with safetensors), ``steps.jsonl``,
            ``evaluations.jsonl`` and the state go.
        settings: The options.
        gold: A held-out measurement that the reward knows nothing of; asked at intervals, on
            ``held_out``. The checkpoint with the best gold score is kept; without gold, the last.
        held_out: Prompts for the measurements at intervals, none of them trained on.
        sampler: From an adapter's folder to the model that samples with it, e.g.
            ``lambda adapter: load("smollm2-135m", adapter=adapter)``. By default torch samples.
        progress: Called after each step.

    Raises:
        ConfigError: The options do not fit each other.
        CustodesError: The reward function failed, or the loss stopped being a number.
    """
    raise NotImplementedError
