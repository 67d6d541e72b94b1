"""A preflight of PPO: signs, reference, reward and one real step, each measured before step 1.

`custodes.preflight` checks trainers of trl; this has its ids for the same bugs. Nothing here reads
an option: each check disturbs what goes in and looks at what comes out of the functions that train.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from custodes.control import Control
from custodes.training.rl.policy import Policy, Scores
from custodes.training.rl.rewards import Reward, rewards_of
from custodes.training.rl.rollouts import Rollouts

if TYPE_CHECKING:
    from custodes.training.ppo import Batch
    from custodes.training.rl.options import PpoOptions

__all__ = ["audit_controls"]

_ROUNDING = 1e-4
Verdict = tuple[bool | None, str]
Optimize = Callable[..., dict[str, float]]


def audit_controls(
    policy: Policy,
    batch: Batch,
    rollouts: Rollouts,
    reward: Reward,
    gold: Reward | None,
    settings: PpoOptions,
    optimize: Optimize,
) -> list[Control]:
    """Check a training on its first completions, and put everything back.

    Args:
        policy: The policy before its first step.
        batch: The first step's completions, scored.
        rollouts: The same as texts.
        reward: The reward function.
        gold: The gold function, if there is one.
        settings: The options.
        optimize: `ppo.optimize`: trains on a batch, as the training will.

    Returns:
        "ppo starts at its reference", and "ppo preflight" over all the rest.
    """
    start = _start_control(batch)
    if not settings.preflight:
        return [start, Control.not_tested("ppo preflight", "switched off in the config")]
    verdicts = {
        "advantage-sign": _advantage_sign(batch, settings),
        "kl-sign": _kl_sign(batch, settings),
        "reward-varies": _reward_varies(batch),
        "reward-aligned": _reward_aligned(batch, rollouts, reward),
        "reward-agrees-with-expert": _reward_agrees(batch, rollouts, gold),
        "step-helps": _step_helps(policy, batch, settings, optimize),
    }
    failed = [id for id, (passed, _) in verdicts.items() if passed is False]
    untested = [f"{id} ({why})" for id, (passed, why) in verdicts.items() if passed is None]
    passed = len(verdicts) - len(failed) - len(untested)
    explanation = f"{passed} checks of the first step passed, {len(failed)} failed"
    if failed:
        explanation += f" ({', '.join(failed)}); {verdicts[failed[0]][1]}"
    if untested:
        explanation += f"; not tested: {'; '.join(untested)}"
    return [
        start,
        Control("ppo preflight", not failed, explanation, {"passed": passed, "failed": failed}),
    ]


def _start_control(batch: Batch) -> Control:
    mask = batch.sequences.mask(batch.reference.device)
    worst = float((batch.old.logprobs - batch.reference)[mask].abs().max())
    return Control(
        "ppo starts at its reference",
        worst <= _ROUNDING,
        f"before the first step the policy's log-probabilities are at most {worst:.2g} nats from "
        f"the reference's (at most {_ROUNDING})",
        {"difference": worst, "most": _ROUNDING},
    )


def _probe(batch: Batch) -> Any:
    """Rewards that we know: every other completion is good."""
    import torch

    signs = torch.ones_like(batch.scores)
    signs[1::2] = -1
    return signs


def _blank(batch: Batch) -> Batch:
    """Return the batch without scores, values or a distance from the reference."""
    import torch

    zeros = torch.zeros_like(batch.reference)
    old = Scores(batch.reference, batch.old.entropy, batch.old.variance, zeros)
    return replace(batch, old=old, scores=torch.zeros_like(batch.scores))


def _advantage_sign(batch: Batch, settings: PpoOptions) -> Verdict:
    signs = _probe(batch)
    probe = replace(_blank(batch), scores=signs)
    advantages, _ = probe.advantages(list(range(len(signs))), settings)
    total = advantages.sum(dim=1)
    gap = float(total[signs > 0].mean() - total[signs < 0].mean())
    return gap > 0, f"completions with a higher reward have advantages {gap:+.3g} higher"


def _kl_sign(batch: Batch, settings: PpoOptions) -> Verdict:
    if batch.beta == 0:
        return None, "beta is 0"
    signs = _probe(batch)
    blank = _blank(batch)
    # Every other completion is likelier under the policy than under the reference.
    moved = replace(blank.old, logprobs=blank.reference + (signs > 0)[:, None].float())
    probe = replace(blank, old=moved)
    advantages, _ = probe.advantages(list(range(len(signs))), settings)
    total = advantages.sum(dim=1)
    gap = float(total[signs > 0].mean() - total[signs < 0].mean())
    return gap < 0, f"leaving the reference changes advantages by {gap:+.3g}"


def _reward_varies(batch: Batch) -> Verdict:
    spread = float(batch.scores.std(correction=0))
    return spread > 1e-9, f"rewards of {len(batch.scores)} completions spread by {spread:.2g}"


def _reward_aligned(batch: Batch, rollouts: Rollouts, reward: Reward) -> Verdict:
    scores = batch.scores.cpu().numpy().astype(np.float64)
    back = rewards_of(reward, rollouts.chats[::-1], rollouts.texts[::-1])[::-1]
    spread = max(float(np.ptp(scores)), 1e-9)
    gap = float(np.abs(back - scores).max()) / spread
    return gap <= 0.02, f"in another order completions earn up to {gap:.2g} of the spread else"


def _reward_agrees(batch: Batch, rollouts: Rollouts, gold: Reward | None) -> Verdict:
    if gold is None:
        return None, "there is no gold function"
    golds = rewards_of(gold, rollouts.chats, rollouts.texts, what="gold")
    scores = batch.scores.cpu().numpy()
    if len(scores) < 8 or np.ptp(golds) == 0 or np.ptp(scores) == 0:
        return None, "too few different scores"
    r = float(np.corrcoef(scores, golds)[0, 1])
    bound = -2.0 / (len(scores) - 1) ** 0.5
    return r > bound, f"correlation of reward and gold {r:+.2f} (must be above {bound:.2f})"


def _step_helps(policy: Policy, batch: Batch, settings: PpoOptions, optimize: Optimize) -> Verdict:
    """Take one real step for a reward that we know, and take it back."""
    import torch

    kept = [w.detach().clone() for w in policy.trainable]
    signs = _probe(batch)
    # The smaller of two rates: a step so long that it leaves the slope says nothing of its sign.
    optimizer = torch.optim.Adam(policy.trainable, lr=min(settings.learning_rate, 1e-4))
    try:
        optimize(policy, optimizer, replace(batch, scores=signs), settings, settings.seed)
        after = policy.score(batch.sequences).logprobs
    finally:
        with torch.no_grad():
            for weight, old in zip(policy.trainable, kept, strict=True):
                weight.copy_(old)
                weight.grad = None
    change = (after - batch.old.logprobs).sum(dim=1)
    gap = float(change[signs > 0].mean() - change[signs < 0].mean())
    return gap > 0, (
        f"after one real step for a known reward, rewarded completions gained {gap:+.3g} nats over "
        "the others"
    )
