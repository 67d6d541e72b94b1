"""Proximal policy optimisation of an adapter, in one file.

Ziegler et al. 2019, "Fine-Tuning Language Models from Human Preferences", arXiv:1909.08593, with
their code (openai/lm-human-preferences, `train_policy.py`); Schulman et al. 2017, "Proximal Policy
Optimization Algorithms", arXiv:1707.06347; Huang, Liu & von Werra 2023, "The N Implementation
Details of RLHF with PPO" (ICLR blog posts 2024). The steps below are numbered in the code:

1. Sample completions; torch computes their log-probabilities, at the sampling temperature.
2. Score them with the reward function, and with the frozen reference.
3. Reward of a token: −β (log π − log ρ), plus the score at the last (Ziegler et al. eq. 2).
4. Whiten rewards, without shifting their mean (`PPOTrainer.loss`).
5. Generalised advantage estimation (Schulman et al. 2016, arXiv:1506.02438, eq. 16).
6. Whiten advantages.
7. The clipped policy objective (Schulman et al. 2017, eq. 7).
8. The clipped value loss; the value head starts at zero (Huang et al.).
9. Adam, with a learning rate that falls linearly to 0.
10. Adapt β to the KL divergence (Ziegler et al. section 2.2).
11. Measure on held-out prompts at intervals; stop where gold falls while the reward rises.

Simplified: the reward is not normalised beforehand, and a completion without an end is scored as
it is. Reward sign −1 with KL sign +1 makes a policy that is fluent and as bad as it can be, the
accident that Ziegler et al. tell of (section 4.4); KL sign −1 rewards leaving the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from custodes.conversation import Chat
from custodes.errors import CustodesError
from custodes.models.base import Sampling
from custodes.progress import Progress, silent
from custodes.seeds import derive
from custodes.training.packing import Sequences, by_prompt, parts
from custodes.training.rl.audit import audit_controls
from custodes.training.rl.controller import AdaptiveKLController, FixedKLController, kl_controller
from custodes.training.rl.objective import objective
from custodes.training.rl.options import PpoOptions, check_prompts
from custodes.training.rl.policy import Policy, Scores
from custodes.training.rl.result import RlResult
from custodes.training.rl.rewards import Reward, rewards_of
from custodes.training.rl.rollouts import MakeSampler, Sampler, prompts_of_step
from custodes.training.rl.run import RlRun

if TYPE_CHECKING:
    import torch

    from custodes.training.lora import LoraModel

__all__ = [
    "AdaptiveKLController",
    "FixedKLController",
    "PpoOptions",
    "gae",
    "policy_loss",
    "token_rewards",
    "train",
    "value_loss",
    "whiten",
]

_POSITIONS = 1_024  # Of one forward and backward pass; gradients of several add up.


# The mathematics, without a model. Shapes: N completions, T the longest in tokens; mask (N, T) is
# true where there are tokens.


def token_rewards(
    scores: torch.Tensor,
    logprobs: torch.Tensor,
    reference: torch.Tensor,
    mask: torch.Tensor,
    *,
    beta: float,
    reward_sign: int = 1,
    kl_sign: int = 1,
) -> torch.Tensor:
    """Return each token's reward, (N, T): the KL penalty, and the score at the last token.

    Args:
        scores: Reward of each completion, (N,).
        logprobs: Log-probabilities under the policy that sampled, (N, T).
        reference: The same under the reference.
        mask: Where there are tokens; in each row the first ones.
        beta: Weight of the penalty, per nat.
        reward_sign, kl_sign: +1, or -1 to flip either term.
    """
    import torch

    rewards = -kl_sign * beta * (logprobs - reference) * mask
    last = mask.sum(dim=1, keepdim=True) - 1
    at_last = torch.arange(mask.shape[1], device=mask.device) == last
    return rewards + reward_sign * scores[:, None].to(rewards) * at_last


def whiten(values: torch.Tensor, mask: torch.Tensor, *, shift_mean: bool = True) -> torch.Tensor:
    """Scale to variance 1 over all tokens, and shift to mean 0 where asked; 0 at padding."""
    import torch

    some = values[mask]
    mean, variance = some.mean(), some.var(correction=0)
    whitened = (values - mean) * torch.rsqrt(variance + 1e-8)
    return (whitened if shift_mean else whitened + mean) * mask


def gae(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Estimate advantages: A_t = δ_t + γ λ A_(t+1), with δ_t = r_t + γ V_(t+1) − V_t.

    Returns:
        The advantages and the returns A + V, both (N, T), 0 at padding.
    """
    import torch

    values = values * mask
    advantages = torch.zeros_like(values)
    ahead = next_value = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        ahead = (delta + gamma * lam * ahead) * mask[:, t]
        advantages[:, t] = ahead
        next_value = values[:, t]
    return advantages, (advantages + values) * mask


def policy_loss(
    logprobs: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    clip: float,
) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the clipped policy loss, mean over tokens, and its diagnostics.

    Args:
        logprobs: Under the policy in training, (N, T), with a gradient.
        old: Under the policy that sampled.
        advantages: (N, T).
        mask: Where there are tokens.
        clip: The ratio π / π_old counts within 1 ± clip; 0: without a bound.
    """
    import torch

    difference = (logprobs - old)[mask]
    ratio = difference.exp()
    plain = -advantages[mask] * ratio
    clipped = -advantages[mask] * (ratio.clamp(1 - clip, 1 + clip) if clip else ratio)
    with torch.no_grad():
        diagnostics = {
            "policy/clipfrac": float((clipped > plain).float().mean()),
            "policy/approxkl": float(0.5 * difference.square().mean()),
            "policy/ratio": float(ratio.mean()),
        }
    return torch.maximum(plain, clipped).mean(), diagnostics


def value_loss(
    values: torch.Tensor,
    old: torch.Tensor,
    returns: torch.Tensor,
    mask: torch.Tensor,
    clip: float,
) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the clipped value loss, mean over tokens, and its diagnostics.

    Args:
        values: Of the head in training, (N, T), with a gradient.
        old: Of the head at sampling.
        returns: What they should be.
        mask: Where there are tokens.
        clip: How far a value may move from its old one; 0: as far as it likes.
    """
    import torch

    now, before, wanted = values[mask], old[mask], returns[mask]
    near = before + (now - before).clamp(-clip, clip) if clip else now
    plain, clipped = (now - wanted).square(), (near - wanted).square()
    with torch.no_grad():
        diagnostics = {
            "val/clipfrac": float((clipped > plain).float().mean()),
            "val/vpred": float(now.mean()),
            "val/error": float(plain.mean()),
        }
    return 0.5 * torch.maximum(plain, clipped).mean(), diagnostics


@dataclass(frozen=True)
class Batch:
    """What a step trains on: completions with what was computed of them, N of each.

    Attributes:
        sequences: The completions.
        scores: Their rewards, (N,).
        old: Log-probabilities, entropies and values under the policy that sampled.
        reference: Log-probabilities under the reference, (N, T).
        beta: Weight of the KL penalty.
    """

    sequences: Sequences
    scores: torch.Tensor
    old: Scores
    reference: torch.Tensor
    beta: float

    def advantages(
        self, rows: Sequence[int], settings: PpoOptions
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return advantages and returns of some completions, (len(rows), T) each."""
        mask = self.sequences.mask(self.reference.device)[rows]
        # 3. Rewards of the tokens.
        rewards = token_rewards(
            self.scores[rows],
            self.old.logprobs[rows],
            self.reference[rows],
            mask,
            beta=self.beta,
            reward_sign=settings.reward_sign,
            kl_sign=settings.kl_sign,
        )
        # 4. Whitening over the minibatch, as they do.
        if settings.whiten_rewards:
            rewards = whiten(rewards, mask, shift_mean=False)
        # 5. Advantages.
        values = self.old.values[rows]
        advantages, returns = gae(rewards, values, mask, settings.gamma, settings.gae_lambda)
        # 6. Whitening.
        if settings.whiten_advantages:
            advantages = whiten(advantages, mask)
        return advantages, returns


def optimize(
    policy: Policy, optimizer: Any, batch: Batch, settings: PpoOptions, seed: int
) -> dict[str, float]:
    """Train on one step's completions; returns the diagnostics, each a mean over tokens.

    Raises:
        CustodesError: The loss or the gradient is not a number.
    """
    import torch

    # Completions of one prompt stay in one minibatch: their prompt is computed once.
    groups = by_prompt(batch.sequences)
    count = min(settings.minibatches, len(groups))
    totals: dict[str, float] = {}
    for epoch in range(settings.epochs):
        order = np.random.default_rng(derive(seed, epoch)).permutation(len(groups))
        for chunk in np.array_split(order, count):
            optimizer.zero_grad()
            diagnostics = _backward(policy, batch, [i for g in chunk for i in groups[g]], settings)
            # 9. The optimizer's step.
            norm = torch.nn.utils.clip_grad_norm_(policy.trainable, settings.max_grad_norm)
            if not bool(torch.isfinite(norm)):
                raise CustodesError(
                    f"ppo went wrong: the gradient's norm is {float(norm)}",
                    "lower its learning_rate, or look at the reward's size",
                )
            optimizer.step()
            for name, value in (diagnostics | {"grad_norm": float(norm)}).items():
                totals[name] = totals.get(name, 0.0) + value / (settings.epochs * count)
    variance = totals["returns/var"]
    totals["val/var_explained"] = 1 - totals["val/error"] / variance if variance else 0.0
    return {f"ppo/{name}": value for name, value in totals.items()}


def _backward(
    policy: Policy, batch: Batch, rows: list[int], settings: PpoOptions
) -> dict[str, float]:
    """Add up the gradient of a minibatch; returns its diagnostics."""
    mask = batch.sequences.mask(batch.reference.device)[rows]
    advantages, returns = batch.advantages(rows, settings)
    sums: dict[str, float] = {}
    for name, some in (("val", batch.old.values[rows][mask]), ("returns", returns[mask])):
        sums |= {f"{name}/mean": float(some.mean()), f"{name}/var": float(some.var(correction=0))}
    with policy.training():
        for part in parts(batch.sequences.at(rows), _POSITIONS):
            own = [rows[i] for i in part]
            now = policy.forward(batch.sequences.at(own))
            width = now.logprobs.shape[1]
            here = mask[part, :width]
            old, before = batch.old.logprobs[own, :width], batch.old.values[own, :width]
            # 7. The policy's loss.
            first, diagnostics = policy_loss(
                now.logprobs, old, advantages[part, :width], here, settings.clip
            )
            # 8. The value head's.
            second, more = value_loss(
                now.values, before, returns[part, :width], here, settings.value_clip
            )
            loss = first + settings.value_weight * second
            weight = int(here.sum()) / int(mask.sum())
            (loss * weight).backward()  # type: ignore[no-untyped-call]
            diagnostics |= more | {
                "loss/policy": float(first.detach()),
                "loss/value": float(second.detach()),
                "loss/total": float(loss.detach()),
                "policy/entropy": float(now.entropy[here].mean()),
            }
            for name, value in diagnostics.items():
                sums[name] = sums.get(name, 0.0) + value * weight
    return sums


def train(
    policy: LoraModel,
    reward: Reward,
    chats: Sequence[Chat],
    folder: Path,
    settings: PpoOptions,
    *,
    gold: Reward | None = None,
    held_out: Sequence[Chat] = (),
    sampler: MakeSampler | None = None,
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
    import torch

    check_prompts(settings, chats)
    actor = Policy(policy, settings.temperature)
    draw = Sampler(actor, sampler, folder)
    run = RlRun("ppo", actor, draw, reward, gold, chats, held_out, folder, settings)
    optimizer = torch.optim.Adam(actor.trainable, lr=settings.learning_rate)
    controller = kl_controller(settings)
    figures = run.restore(optimizer)
    if figures is None:
        run.evaluate(0)
    else:
        controller.value = figures["beta"]
    sampling = Sampling(settings.max_tokens, settings.temperature, n=settings.samples)
    while len(run.rows) < settings.steps and not run.stopped:
        step = len(run.rows)
        progress("PPO", step, settings.steps)
        # 1. Rollouts.
        prompts = prompts_of_step(chats, settings.batch // settings.samples, step, settings.seed)
        own = sampling.seeded(derive(settings.seed, "rollouts", step))
        rollouts = draw(prompts, own)
        if step == 0:
            run.controls.append(draw.agreement_control(rollouts))
        old = actor.score(rollouts.sequences)
        # 2. Scores.
        scores = rewards_of(reward, rollouts.chats, rollouts.texts)
        with actor.as_reference():
            reference = actor.score(rollouts.sequences).logprobs
        batch = Batch(
            rollouts.sequences,
            torch.tensor(scores, dtype=torch.float32, device=reference.device),
            old,
            reference,
            controller.value,
        )
        if step == 0:
            run.controls += audit_controls(actor, batch, rollouts, reward, gold, settings, optimize)
        # 9. The learning rate of this step.
        rate = settings.learning_rate * (1 - step / settings.steps)
        optimizer.param_groups[0]["lr"] = rate
        row = {
            **objective(batch, rollouts, settings),
            **optimize(actor, optimizer, batch, settings, derive(settings.seed, "order", step)),
            "ppo/learning_rate": rate,
        }
        run.rows.append(row)
        # 10. Beta.
        controller.update(row["objective/kl"], settings.batch)
        # 11. Held-out measurements, and the state to go on from.
        if (step + 1) % settings.evaluate_every == 0 or step + 1 == settings.steps:
            run.evaluate(step + 1)
            run.keep(optimizer, {"beta": controller.value})
    progress("PPO", settings.steps, settings.steps)
    return run.finish()
