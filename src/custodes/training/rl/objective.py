"""A step's figures that do not depend on the training, under their standard names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from custodes.training.rl.rollouts import Rollouts, sampling_gap

if TYPE_CHECKING:
    from custodes.training.ppo import Batch
    from custodes.training.rl.options import PpoOptions

__all__ = ["objective"]


def objective(batch: Batch, rollouts: Rollouts, settings: PpoOptions) -> dict[str, float]:
    """Return a step's figures that do not depend on the training."""
    mask = batch.sequences.mask(batch.reference.device)
    kl_N = ((batch.old.logprobs - batch.reference) * mask).sum(dim=1)
    penalty = float(-settings.kl_sign * batch.beta * kl_N.mean())
    score = float(batch.scores.mean())
    gap, z = sampling_gap(batch.old, mask)
    return {
        "objective/score": score,
        "objective/score_std": float(batch.scores.std(correction=0)),
        "objective/kl": float(kl_N.mean()),
        "objective/kl_coef": batch.beta,
        "objective/entropy": float(-(batch.old.logprobs * mask).sum(dim=1).mean()),
        "objective/non_score_reward": penalty,
        "objective/score_total": settings.reward_sign * score + penalty,
        "objective/length": float(mask.sum(dim=1).float().mean()),
        "objective/ended": float(rollouts.ended.mean()),
        "objective/sampling_gap": gap,
        "objective/sampling_z": z,
    }
