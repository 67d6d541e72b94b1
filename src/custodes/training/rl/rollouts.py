"""Sampling from the policy, and whether the samples are its own."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from custodes.control import Control
from custodes.conversation import Chat
from custodes.models.base import LanguageModel, Sampling, ScoringModel
from custodes.models.chat import decode, encode_chats, encode_texts
from custodes.models.decode import sample_tokens
from custodes.seeds import derive
from custodes.training.examples import SLACK
from custodes.training.packing import Sequences
from custodes.training.rl.policy import Policy, Scores

if TYPE_CHECKING:
    import torch

__all__ = [
    "MakeSampler",
    "Rollouts",
    "Sampler",
    "own_samples_control",
    "prompts_of_step",
    "sampling_gap",
]

MakeSampler = Callable[[Path], LanguageModel]
"""From an adapter's folder to the model that samples with it."""

_COMPARED = 8
"""Completions that two engines are compared on."""

_ENGINES_OFF = 0.1
"""Nats a token that two engines may differ by: the rounding of the weights they serve."""

_Z, _GAP = 6.0, 0.05
"""Samples of other weights or another temperature show both: a difference that chance does not
explain (standard deviations), and one that is larger than rounding (nats a token)."""


@dataclass(frozen=True)
class Rollouts:
    """Completions and where they came from, N of each.

    Attributes:
        chats: The prompts, repeated for each of their completions.
        texts: The completions; untrusted.
        sequences: The same as token ids.
        ended: Whether each completion ended by itself, shape (N,).
    """

    chats: Sequence[Chat]
    texts: Sequence[str]
    sequences: Sequences
    ended: np.ndarray[Any, Any]


class Sampler:
    """Samples from the policy as it is now, by torch or by another engine.

    Attributes:
        engine: The engine that sampled last.
        served: Its model, where it is not the policy itself.
    """

    def __init__(self, policy: Policy, make: MakeSampler | None, folder: Path) -> None:
        self._policy, self._make, self._folder = policy, make, folder / "sampled"
        lora = policy.lora
        ends = lora.model.generation_config.eos_token_id
        self._ends = {ends} if isinstance(ends, int) else set(ends or ())
        self._ends |= {lora.tokenizer.eos_token_id} - {None}
        self.engine = "torch"
        self.served: LanguageModel | None = None

    def __call__(self, chats: Sequence[Chat], sampling: Sampling) -> Rollouts:
        """Sample ``sampling.n`` completions of each prompt."""
        lora = self._policy.lora
        prompts = [tuple(ids) for ids in encode_chats(lora.tokenizer, chats)]
        rows = None if self._make is None else self._by_engine(chats, sampling)
        if rows is None:
            rows = self._by_torch(prompts, sampling)
        owners = [i for i, own in enumerate(rows) for _ in own]
        completions = [tuple(row) for own in rows for row in own]
        return Rollouts(
            [chats[i] for i in owners],
            decode(lora.tokenizer, completions),
            Sequences([prompts[i] for i in owners], completions),
            np.array([row[-1] in self._ends for row in completions]),
        )

    def _by_torch(
        self, prompts: Sequence[tuple[int, ...]], sampling: Sampling
    ) -> list[list[list[int]]]:
        import torch

        lora = self._policy.lora
        training = lora.model.training
        lora.model.eval()
        try:
            with self._policy.merged(), torch.no_grad():
                return sample_tokens(lora.base.model, lora.tokenizer, prompts, sampling, self._ends)
        finally:
            lora.model.train(training)

    def _by_engine(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[list[int]]] | None:
        """Sample texts, and encode them: other engines give no token ids.

        Returns:
            None where the engine is torch. The policy itself is there already, and it gives the
            tokens that were sampled: a text is not always encoded as the tokens it came from.
        """
        lora = self._policy.lora
        assert self._make is not None
        self.served = None  # Its memory is free before the next one is loaded.
        lora.save(self._folder)
        self.served = self._make(self._folder)
        self.engine = self.served.engine
        if self.engine == "torch":
            self._make = self.served = None
            shutil.rmtree(self._folder)
            return None
        answers = self.served.generate(chats, sampling)
        shutil.rmtree(self._folder)
        ids = iter(encode_texts(lora.tokenizer, [text for own in answers for text in own]))
        # As in `encode_examples`: what is shorter than it may be has ended.
        short = max(sampling.max_tokens - SLACK, 1)
        end = lora.tokenizer.eos_token_id
        return [
            [
                [*row, end] if len(row) < short else row[: sampling.max_tokens]
                for row in (next(ids) for _ in own)
            ]
            for own in answers
        ]

    def agreement_control(self, rollouts: Rollouts) -> Control:
        """Compare the engine's log-probabilities of its samples with those that are trained on.

        Call it right after sampling.
        """
        name = "ppo samplers agree"
        few = [i for i, text in enumerate(rollouts.texts) if text][:_COMPARED]
        policy = self._policy
        if not few:
            return Control.not_tested(name, "every completion is empty")
        chats, texts = [rollouts.chats[i] for i in few], [rollouts.texts[i] for i in few]
        if self._make is None:
            with policy.merged():
                theirs = policy.lora.base.logprobs(chats, texts)
        elif isinstance(self.served, ScoringModel):
            theirs = self.served.logprobs(chats, texts)
        else:
            return Control.not_tested(name, f"the {self.engine} engine gives no log-probabilities")
        kept, policy.temperature = policy.temperature, 1.0  # As `logprobs` computes them.
        try:
            ours = policy.score(rollouts.sequences.at(few)).logprobs.cpu().numpy()
        finally:
            policy.temperature = kept
        encoded = encode_texts(policy.lora.tokenizer, texts)
        gaps = [
            float(np.abs(row[: len(ids)] - one.logprobs).mean())
            for row, one, ids, i in zip(ours, theirs, encoded, few, strict=True)
            # An engine scores a text, which can be other tokens than those that were sampled.
            if tuple(ids) == rollouts.sequences.completions[i][: len(ids)]
            and len(ids) == len(one.logprobs)
        ]
        if not gaps:
            return Control.not_tested(name, "every completion is encoded otherwise than sampled")
        worst = max(gaps)
        return Control(
            name,
            worst <= _ENGINES_OFF,
            f"log-probabilities of {len(gaps)} completions by the {self.engine} engine that "
            f"sampled them differ by {worst:.2g} nats a token from those that are trained on "
            f"(at most {_ENGINES_OFF})",
            {"difference": worst, "most": _ENGINES_OFF},
        )


def prompts_of_step(chats: Sequence[Chat], count: int, step: int, seed: int) -> list[Chat]:
    """Choose a step's prompts: each comes once before any comes again."""
    chosen = []
    for at in range(step * count, (step + 1) * count):
        order = np.random.default_rng(derive(seed, "prompts", at // len(chats)))
        chosen.append(chats[int(order.permutation(len(chats))[at % len(chats)])])
    return chosen


def sampling_gap(scores: Scores, mask: torch.Tensor) -> tuple[float, float]:
    """Compare samples with the distribution that they are said to come from.

    Under it the log-probability of a sample has mean −H. The difference, summed over tokens, over
    its standard deviation is standard normal.

    Returns:
        The mean difference in nats a token, and the sum in standard deviations.
    """
    difference = (scores.logprobs + scores.entropy)[mask]
    variance = float(scores.variance[mask].sum())
    total = float(difference.sum())
    return total / len(difference), total / math.sqrt(variance) if variance > 0 else 0.0


def own_samples_control(gaps: Sequence[float], zs: Sequence[float], engine: str) -> Control:
    """Check that each step's completions are samples of the policy as it was then.

    Args:
        gaps, zs: What `sampling_gap` returned at each step.
        engine: The engine that sampled.
    """
    bad = sum(abs(z) > _Z and abs(gap) > _GAP for gap, z in zip(gaps, zs, strict=True))
    worst = max(range(len(gaps)), key=lambda i: abs(zs[i]))
    return Control(
        "ppo samples from its policy",
        bad == 0,
        f"at {bad} of {len(gaps)} steps the completions of the {engine} engine are no samples of "
        f"the policy; at the worst their log-probability is {gaps[worst]:+.3f} nats a token, or "
        f"{zs[worst]:+.1f} standard deviations, from what the policy gives (at most {_GAP} or "
        f"{_Z:g})",
        {"steps": len(gaps), "wrong": bad, "gap": gaps[worst], "z": zs[worst]},
    )
