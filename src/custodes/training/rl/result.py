"""What a reinforcement learning run returns, whatever the method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from custodes.control import Control
from custodes.training.lora import Moved
from custodes.training.result import significant

__all__ = ["Evaluation", "RlResult"]


@dataclass(frozen=True)
class Evaluation:
    """One checkpoint measured on held-out prompts, which are never trained on.

    Attributes:
        step: Steps done before it; 0 is the model as it was.
        gold: Mean gold score over the held-out prompts; None where there is no gold function.
        reward: Mean reward there.
        kl: Mean KL divergence from the reference there, in nats a completion.
        length: Mean length of the completions, in tokens.
        gold_by_prompt: Gold score of each held-out prompt, in their order.
        reward_by_prompt: Reward of each held-out prompt.
        completions: The completions, in the order of the prompts; untrusted.
    """

    step: int
    gold: float | None
    reward: float
    kl: float
    length: float
    gold_by_prompt: Sequence[float] = ()
    reward_by_prompt: Sequence[float] = ()
    completions: Sequence[str] = ()


@dataclass(frozen=True)
class RlResult:
    """One training by reinforcement learning.

    Attributes:
        method: "ppo", "grpo", "rloo" or "dpo".
        adapter: PEFT folder of the kept checkpoint (safetensors).
        steps: Steps that were done.
        kept_step: Step of the kept checkpoint.
        stopped: Why the training ended, in one sentence.
        rollouts: Completions that were sampled for training.
        series: By name, a figure for each step: ``objective/score``, ``objective/kl``,
            ``objective/entropy``, ``ppo/policy/clipfrac`` … (ppo.py lists them).
        evaluations: The held-out measurements, oldest first.
        moved: How far the kept checkpoint's weights are from the reference's.
        trainable: Weights that could change.
        controls: What would have exposed a training that did not work.
        seconds: How long it took, this process alone; no part of `metrics`.
    """

    method: str
    adapter: Path
    steps: int
    kept_step: int
    stopped: str
    rollouts: int
    series: Mapping[str, Sequence[float]]
    evaluations: Sequence[Evaluation]
    moved: Moved
    trainable: int
    controls: Sequence[Control]
    seconds: float = field(compare=False, default=0.0)

    def metrics(self) -> dict[str, Any]:
        """Return what is deterministic, JSON-ready; the controls and completions apart."""
        rows = [asdict(one) for one in self.evaluations]
        for row in rows:
            del row["completions"]
        return {
            "method": self.method,
            "steps": self.steps,
            "kept_step": self.kept_step,
            "stopped": self.stopped,
            "rollouts": self.rollouts,
            "trainable": self.trainable,
            "series": {n: [round(v, 6) for v in row] for n, row in self.series.items()},
            "evaluations": rows,
            "weights_moved": significant(self.moved.total),
            "weights_moved_most": {
                "where": self.moved.where,
                "by": significant(self.moved.largest),
            },
        }
