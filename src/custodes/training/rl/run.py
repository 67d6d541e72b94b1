"""One training by reinforcement learning: measured at intervals, kept, resumed and finished."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from custodes.control import Control
from custodes.conversation import Chat
from custodes.errors import ConfigError, RunError
from custodes.models.base import Sampling
from custodes.seeds import derive
from custodes.statistics import paired_change
from custodes.training.examples import fingerprint
from custodes.training.lora import Factors, read_factors
from custodes.training.result import gradient_control
from custodes.training.rl.policy import Policy
from custodes.training.rl.result import Evaluation, RlResult
from custodes.training.rl.rewards import Reward, rewards_of
from custodes.training.rl.rollouts import Sampler, own_samples_control
from custodes.training.rl.state import (
    load_optimizer,
    optimizer_tensors,
    read_rows,
    read_state,
    write_rows,
    write_state,
)
from custodes.training.rl.stopping import best_evaluation, overoptimised

__all__ = ["RlRun"]

_LEVEL = 0.05
"""Of the one-sided tests over prompts in controls."""


class RunSettings(Protocol):
    """What a run reads of a method's options."""

    steps: int
    max_tokens: int
    temperature: float
    evaluate_every: int
    stop: bool
    stop_level: float
    seed: int


class RlRun:
    """The part of a training that does not depend on the method.

    Attributes:
        rows: Figures of each step that was done.
        evaluations: Held-out measurements, oldest first.
        controls: Those known so far.
        stopped: Why the training ended early, "" while it has not.
    """

    def __init__(
        self,
        method: str,
        policy: Policy,
        sampler: Sampler,
        reward: Reward,
        gold: Reward | None,
        chats: Sequence[Chat],
        held_out: Sequence[Chat],
        folder: Path,
        settings: Any,
    ) -> None:
        if gold is not None and not held_out:
            raise ConfigError("gold needs prompts of its own", "give held_out")
        self._method, self._policy, self._sampler = method, policy, sampler
        self._reward, self._gold, self._held_out = reward, gold, held_out
        self._folder, self._settings = folder, settings
        self._began = time.perf_counter()
        self._start: Factors = policy.lora.factors()
        self._best: list[Any] = [w.detach().clone() for w in policy.adapter]
        self._rollouts = 0
        self.rows: list[dict[str, float]] = []
        self.evaluations: list[Evaluation] = []
        self.controls: list[Control] = []
        self.stopped = ""
        self._key = fingerprint(
            [
                method,
                asdict(settings),
                [list(chat) for chat in chats],
                [list(chat) for chat in held_out],
                policy.lora.base.version,
                _digest(policy.reference),
                gold is not None,
            ]
        )

    # Resuming

    def restore(self, optimizer: Any) -> dict[str, Any] | None:
        """Go on from the state in the folder, if there is one; returns its figures.

        Raises:
            RunError: The state is damaged, or another training's.
        """
        policy = self._policy
        found = read_state(self._folder / "state.safetensors", policy.adapter[0].device)
        if found is None:
            return None
        tensors, figures = found
        if figures["key"] != self._key:
            raise RunError(
                f"{self._folder} holds another training (other options, prompts or policy)",
                "choose another folder, or remove it",
            )
        for at, weight in enumerate(policy.adapter):
            weight.data.copy_(tensors[f"adapter.{at}"])
            self._best[at].copy_(tensors[f"best.{at}"])
        for at, weight in enumerate(policy.value):
            weight.data.copy_(tensors[f"value.{at}"])
        if optimizer is not None:
            load_optimizer(optimizer, tensors)
        self.rows = read_rows(self._folder / "steps.jsonl", figures["steps"])
        names = {field.name for field in fields(Evaluation)}
        self.evaluations = [
            Evaluation(**{k: v for k, v in row.items() if k in names})
            for row in read_rows(self._folder / "evaluations.jsonl", figures["evaluations"])
        ]
        self.controls = [Control.from_dict(row) for row in figures["controls"]]
        self.stopped = figures["stopped"]
        return dict(figures)

    def keep(self, optimizer: Any, figures: Mapping[str, Any]) -> None:
        """Write all that is needed to go on from here."""
        policy, folder = self._policy, self._folder
        write_rows(folder / "steps.jsonl", self.rows)
        write_rows(folder / "evaluations.jsonl", [asdict(one) for one in self.evaluations])
        write_state(
            folder / "state.safetensors",
            {
                **{f"adapter.{at}": w for at, w in enumerate(policy.adapter)},
                **{f"best.{at}": w for at, w in enumerate(self._best)},
                **{f"value.{at}": w for at, w in enumerate(policy.value)},
                **optimizer_tensors(optimizer),
            },
            {
                **figures,
                "key": self._key,
                "steps": len(self.rows),
                "evaluations": len(self.evaluations),
                "controls": [control.to_dict() for control in self.controls],
                "stopped": self.stopped,
            },
        )

    # Measuring

    def evaluate(self, step: int) -> None:
        """Measure on the held-out prompts; keep the checkpoint if it is the best, or stop."""
        if self._held_out:
            self.evaluations.append(self._measure(step))
        if not self.evaluations or best_evaluation(self.evaluations) == len(self.evaluations) - 1:
            self._best = [w.detach().clone() for w in self._policy.adapter]
        if self._settings.stop and self._gold is not None:
            self.stopped = overoptimised(self.evaluations, self._settings.stop_level)

    def _measure(self, step: int) -> Evaluation:
        settings, policy = self._settings, self._policy
        # The same random numbers each time: what differs is the policy.
        seed = derive(settings.seed, "held out")
        rollouts = self._sampler(
            self._held_out, Sampling(settings.max_tokens, settings.temperature, seed=seed)
        )
        mask = rollouts.sequences.mask()
        own = policy.score(rollouts.sequences).logprobs.cpu()
        with policy.as_reference():
            reference = policy.score(rollouts.sequences).logprobs.cpu()
        rewards = rewards_of(self._reward, rollouts.chats, rollouts.texts)
        golds = (
            None
            if self._gold is None
            else rewards_of(self._gold, rollouts.chats, rollouts.texts, what="gold")
        )
        return Evaluation(
            step=step,
            gold=None if golds is None else float(golds.mean()),
            reward=float(rewards.mean()),
            kl=float(((own - reference) * mask).sum(dim=1).mean()),
            length=float(mask.sum(dim=1).float().mean()),
            gold_by_prompt=[] if golds is None else golds.tolist(),
            reward_by_prompt=rewards.tolist(),
            completions=list(rollouts.texts),
        )

    # Ending

    def finish(self) -> RlResult:
        """Put the kept checkpoint into the model, write it, and gather the result."""
        import torch

        policy, adapter = self._policy, self._folder / "adapter"
        with torch.no_grad():
            for weight, best in zip(policy.adapter, self._best, strict=True):
                weight.copy_(best)
        policy.lora.save(adapter)
        moved = policy.lora.moved_from(self._start)
        steps = len(self.rows)
        kept = (
            self.evaluations[best_evaluation(self.evaluations)].step
            if (self.evaluations)
            else steps
        )
        series = {name: [row[name] for row in self.rows] for name in self.rows[0]}
        return RlResult(
            method=self._method,
            adapter=adapter,
            steps=steps,
            kept_step=kept,
            stopped=self.stopped or f"all {steps} steps were done",
            rollouts=steps * getattr(self._settings, "batch", 0),
            series=series,
            evaluations=self.evaluations,
            moved=moved,
            trainable=policy.lora.trainable,
            controls=[
                *self.controls,
                *self._outcome_controls(series),
                self._moved_control(moved.total),
                self._reload_control(adapter),
            ],
            seconds=time.perf_counter() - self._began,
        )

    def _outcome_controls(self, series: Mapping[str, Sequence[float]]) -> list[Control]:
        controls = []
        norms = series.get(f"{self._method}/grad_norm")
        if norms:
            controls.append(gradient_control(self._method, norms, self._policy.lora.trainable))
        if "objective/sampling_gap" in series:
            controls.append(
                own_samples_control(
                    series["objective/sampling_gap"],
                    series["objective/sampling_z"],
                    self._sampler.engine,
                )
            )
        return [*controls, self._reward_control(series), self._gold_control()]

    def _reward_control(self, series: Mapping[str, Sequence[float]]) -> Control:
        """Check that what was trained for went up: a flipped sign lowers it."""
        name = f"{self._method} raises the reward"
        if len(self.evaluations) >= 2 and len(self._held_out) >= 2:
            first, last = self.evaluations[0], self.evaluations[-1]
            change = paired_change(first.reward_by_prompt, last.reward_by_prompt)
            return Control(
                name,
                change.p_rise < _LEVEL,
                f"on {change.n} held-out prompts the reward changed by {change.mean:+.3g} over "
                f"{last.step} steps (p of no rise {change.p_rise:.2g}, must be below {_LEVEL})",
                {"change": change.mean, "p": change.p_rise, "prompts": change.n},
            )
        scores = series.get("objective/score", ())
        third = len(scores) // 3
        if third < 2:
            return Control.not_tested(name, "fewer than 6 steps, and no held-out prompts")
        change_mean = float(np.mean(scores[-third:]) - np.mean(scores[:third]))
        return Control(
            name,
            change_mean > 0,
            f"the mean reward of the last third of {len(scores)} steps is {change_mean:+.3g} from "
            "that of the first third (must be above 0)",
            {"change": change_mean, "steps": len(scores)},
        )

    def _gold_control(self) -> Control:
        name = f"{self._method} kept a better checkpoint"
        if self._gold is None or len(self.evaluations) < 2:
            return Control.not_tested(name, "there is no gold function to measure it with")
        kept = self.evaluations[best_evaluation(self.evaluations)]
        change = paired_change(self.evaluations[0].gold_by_prompt, kept.gold_by_prompt)
        return Control(
            name,
            change.p_rise < _LEVEL,
            f"gold of the kept checkpoint (step {kept.step}) is {change.mean:+.3g} from that of "
            f"the start over {change.n} held-out prompts (p of no rise {change.p_rise:.2g}, must "
            f"be below {_LEVEL})",
            {"change": change.mean, "p": change.p_rise, "kept": kept.step},
        )

    def _moved_control(self, moved: float) -> Control:
        return Control(
            f"{self._method} moved weights",
            moved > 0,
            f"the relative norm of the change is {moved:.2g} (must be above 0)",
            {"moved": moved},
        )

    def _reload_control(self, adapter: Path) -> Control:
        """Check that what is on disk is what was trained."""
        written, own = read_factors(adapter), self._policy.lora.factors()
        different = [
            name
            for name in own
            if name not in written
            or any(not bool((a == b).all()) for a, b in zip(own[name], written[name], strict=True))
        ]
        return Control(
            f"{self._method} checkpoint reloads",
            not different,
            f"{len(different)} of {len(own)} matrices read back from disk differ by a bit or more "
            "(must be 0)",
            {"different": len(different), "matrices": len(own)},
        )


def _digest(tensors: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.float().cpu().numpy().tobytes())
    return digest.hexdigest()
