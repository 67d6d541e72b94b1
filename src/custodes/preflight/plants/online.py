"""Bugs planted into trainers that learn from what they sample: GRPO and RLOO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from custodes.preflight.plants.catalogue import plant
from custodes.preflight.plants.trainers import build, lora, overlap_reward

__all__: list[str] = []


@plant("reward-flipped", "grpo", ["reward-direction"], "NVlabs/alpamayo-recipes#29")
def reward_flipped(folder: Path) -> Any:
    """The reward function has its sign flipped."""

    def flipped(completions: list[Any], answer: list[str], **rest: Any) -> list[float]:
        return [-r for r in overlap_reward(completions, answer, **rest)]

    return build("grpo", folder, reward_funcs=flipped)


@plant(
    "reward-weight-negative", "grpo", ["reward-weights", "advantage-sign"], "huggingface/trl#2714"
)
def reward_weight_negative(folder: Path) -> Any:
    """The reward's weight is −1."""
    return build("grpo", folder, options={"reward_weights": [-1.0]})


@plant("kl-negative", "grpo", ["kl-sign", "beta-sign"], "huggingface/trl#1005")
def kl_negative(folder: Path) -> Any:
    """β < 0: leaving the reference is rewarded."""
    return build("grpo", folder, options={"beta": -0.1})


@plant(
    "frozen-adapter-grpo",
    "grpo",
    ["trainable-weights", "optimizer-weights"],
    "huggingface/trl#6700",
)
def frozen_adapter_grpo(folder: Path) -> Any:
    """An adapter that cannot be trained; trl logs a gradient norm all the same."""
    trainer = build("grpo", folder, peft_config=lora())
    trainer.model.requires_grad_(False)
    return trainer


@plant("wrong-reference-grpo", "grpo", ["reference-is-start"], "huggingface/trl#3397")
def wrong_reference_grpo(folder: Path) -> Any:
    """The policy was changed in memory; the reference is reloaded from disk."""
    import torch

    from custodes.preflight.plants.tiny import tiny_model

    model = tiny_model(folder)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.2)
    return build("grpo", folder, model=model)


@plant("reward-constant", "grpo", ["reward-varies"], "huggingface/trl#3452")
def reward_constant(folder: Path) -> Any:
    """Every completion earns the same."""
    return build("grpo", folder, reward_funcs=lambda completions, **_: [1.0] * len(completions))


@plant("reward-nan", "grpo", ["reward-finite"], "huggingface/trl#5297")
def reward_nan(folder: Path) -> Any:
    """Some rewards are NaN."""

    def nan(completions: list[Any], **_: Any) -> list[float]:
        return [float("nan") if i % 2 else float(len(c)) for i, c in enumerate(completions)]

    return build("grpo", folder, reward_funcs=nan)


@plant("reward-infinite", "rloo", ["reward-finite"], "huggingface/trl#5297")
def reward_infinite(folder: Path) -> Any:
    """An empty completion earns −∞."""

    def infinite(completions: list[Any], **_: Any) -> list[float]:
        return [float(len(c)) if c else float("-inf") for c in completions]

    return build("rloo", folder, reward_funcs=infinite)


@plant("reward-misaligned", "grpo", ["reward-aligned"], "")
def reward_misaligned(folder: Path) -> Any:
    """Rewards come back sorted."""

    def sorted_rewards(completions: list[Any], answer: list[str], **rest: Any) -> list[float]:
        return sorted(overlap_reward(completions, answer, **rest))

    return build("grpo", folder, reward_funcs=sorted_rewards)


@plant("reward-wants-column", "grpo", ["reward-columns"], "")
def reward_wants_column(folder: Path) -> Any:
    """The function wants a column that the dataset does not have."""

    def wants(completions: list[Any], solution: list[str], **_: Any) -> list[float]:
        return [float(len(c) + len(s)) for c, s in zip(completions, solution, strict=True)]

    return build("grpo", folder, reward_funcs=wants)


@plant("reward-wrong-length", "grpo", ["reward-works"], "huggingface/trl#5297")
def reward_wrong_length(folder: Path) -> Any:
    """One reward too few."""
    return build(
        "grpo",
        folder,
        reward_funcs=lambda completions, **_: [float(len(c)) for c in completions][:-1],
    )


@plant(
    "sampler-greedy",
    "grpo",
    ["rollouts-follow-policy", "completions-differ"],
    "huggingface/trl#5783",
)
def sampler_greedy(folder: Path) -> Any:
    """The sampler is nearly greedy, whatever the temperature says."""
    trainer = build("grpo", folder)
    trainer.generation_config.temperature = 1e-4
    return trainer


@plant("sampler-stale", "grpo", ["rollouts-not-stale"], "huggingface/trl#5312")
def sampler_stale(folder: Path) -> Any:
    """Completions come from a copy of the weights that is never updated."""
    from custodes.preflight.plants.tiny import tiny_model

    trainer = build("grpo", folder)
    trainer.model.generate = tiny_model(folder).generate
    return trainer


@plant("logps-temperature", "grpo", ["logps-agree"], "huggingface/trl#3029")
def logps_temperature(folder: Path) -> Any:
    """Log-probabilities are computed at another temperature than completions are sampled at."""
    from types import MethodType

    trainer = build("grpo", folder)
    method = type(trainer)._get_per_token_logps_and_entropies

    def sharper(self: Any, *args: Any, **options: Any) -> Any:
        first, *rest = method(self, *args, **options)
        return (first * 1.5, *rest)

    trainer._get_per_token_logps_and_entropies = MethodType(sharper, trainer)
    return trainer


@plant("advantage-flipped", "rloo", ["advantage-sign", "step-helps"], "NVlabs/alpamayo-recipes#29")
def advantage_flipped(folder: Path) -> Any:
    """A custom trainer turns advantages round."""
    import trl

    class Flipped(trl.RLOOTrainer):  # type: ignore[misc]
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            out = super()._generate_and_score_completions(inputs)
            return {**out, "advantages": -out["advantages"]}

    return build("rloo", folder, base=Flipped)
