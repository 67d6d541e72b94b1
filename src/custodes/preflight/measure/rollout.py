"""Completions that an online trainer samples, scored by a reward that we know.

The user's reward functions are replaced by a probe that rewards every other completion of a group,
so that the sign of the update can be tested whatever the real rewards are today. The real functions
are audited on their own (`custodes.preflight.measure.rewards`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from custodes.preflight.measure.batch import Batch
from custodes.preflight.measure.forward import Answer, evaluation
from custodes.preflight.result import NotTestable

if TYPE_CHECKING:
    from custodes.preflight.case import Case

__all__ = ["Rollouts", "perturbed", "rollout_batch", "sample", "sampling_z"]

_GROUP = 4  # Completions a prompt, at most.
_LENGTH = 24  # Tokens a completion, at most.


@dataclass
class Rollouts:
    """What an online trainer made of a few prompts.

    Attributes:
        rows: The dataset's rows, each repeated as often as it is sampled.
        inputs: What the loss gets.
        prompts: As the reward functions get them.
        completions: As the reward functions get them.
        completion_ids: Token ids of each completion.
        columns: Further keyword arguments of the reward functions.
        probe: The known reward of each completion.
        answers: The rows as token ids; the sign is that of the known reward within its group.
        group: Completions a prompt.
        metrics: What the trainer noted while sampling.
        length: Longest completion that was allowed here, in tokens.
    """

    rows: list[dict[str, Any]]
    inputs: dict[str, Any]
    prompts: list[Any]
    completions: list[Any]
    completion_ids: list[list[int]]
    columns: dict[str, Any]
    probe: list[float]
    answers: list[Answer]
    group: int
    metrics: dict[str, float] = field(default_factory=dict)
    length: int = _LENGTH


class _Probe:
    """A reward function that rewards every other completion, and notes what it was given."""

    __name__ = "custodes_probe"

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        self.rewards: list[float] = []

    def __call__(self, prompts: Any, completions: Any, completion_ids: Any, **rest: Any) -> Any:
        self.given = {
            "prompts": list(prompts),
            "completions": list(completions),
            "completion_ids": [list(ids) for ids in completion_ids],
            "columns": rest,
        }
        # Unequal within each sign, so that no two completions are alike.
        self.rewards = [1.0 if i % 2 == 0 else -1.0 for i in range(len(completions))]
        return list(self.rewards)


def sample(case: Case) -> Rollouts:
    """Let the trainer sample and score a few completions."""
    from custodes.preflight.measure.step import prepared

    prepared(case)
    trainer = case.trainer
    group = min(int(trainer.num_generations), _GROUP)
    rows = sorted(case.rows, key=lambda row: len(str(row.get("prompt"))))
    rows = rows[: max(len(rows) // 2, 1)]
    wanted = max(1, min(2, len(rows)))
    chosen = [
        dict(row) for row in rows[:: max(len(rows) // wanted, 1)][:wanted] for _ in range(group)
    ]
    return generate(case, chosen, group)


def generate(case: Case, rows: list[dict[str, Any]], group: int) -> Rollouts:
    """Sample once for these rows; the trainer's settings are put back."""
    trainer = case.trainer
    length = min(int(trainer.max_completion_length), _LENGTH)
    probe = _Probe()
    with _small(trainer, probe, group, length):
        trainer.model.train()
        trainer._metrics["train"].clear()
        inputs = trainer._generate_and_score_completions([dict(row) for row in rows])
        metrics = {k: float(v[-1]) for k, v in trainer._metrics["train"].items() if v}
    given = probe.given
    if not given:
        raise NotTestable("the trainer called no reward function")
    answers = _answers(inputs, given["completion_ids"], probe.rewards, group)
    return Rollouts(
        rows,
        dict(inputs),
        given["prompts"],
        given["completions"],
        given["completion_ids"],
        given["columns"],
        probe.rewards,
        answers,
        group,
        metrics,
        length,
    )


@contextmanager
def _small(trainer: Any, probe: _Probe, group: int, length: int) -> Iterator[None]:
    """Make groups and completions small, and the rewards known."""
    count = len(trainer.reward_funcs)
    changes = {
        "reward_funcs": [probe] * count,
        "reward_processing_classes": [None] * count,
        "num_generations": group,
        "max_completion_length": length,
        "mask_truncated_completions": False,
    }
    kept = {name: getattr(trainer, name) for name in changes if hasattr(trainer, name)}
    config = getattr(trainer, "generation_config", None)
    longest = getattr(config, "max_new_tokens", None)
    for name in kept:
        setattr(trainer, name, changes[name])
    if config is not None:
        config.max_new_tokens = length
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(trainer, name, value)
        if config is not None:
            config.max_new_tokens = longest


def _answers(
    inputs: dict[str, Any], ids: list[list[int]], rewards: list[float], group: int
) -> list[Answer]:
    """Read sequences out of what the loss gets; the reward is looked up by the completion's ids."""
    known: dict[tuple[int, ...], set[float]] = {}
    for row, reward in zip(ids, rewards, strict=True):
        known.setdefault(tuple(row), set()).add(reward)
    found = []
    for place in range(len(inputs["completion_ids"])):
        prompt = inputs["prompt_ids"][place][inputs["prompt_mask"][place].bool()].tolist()
        reply = inputs["completion_ids"][place].tolist()
        mask = inputs["completion_mask"][place].tolist()
        reply = reply[: sum(1 for one in mask if one)] if any(mask) else reply
        values = known.get(tuple(reply), {0.0})
        sign = 0 if len(values) > 1 else int(next(iter(values)))
        found.append(
            Answer(
                (*prompt, *reply),
                (False,) * len(prompt) + (True,) * len(reply),
                sign,
                place // group,
            )
        )
    return found


def rollout_batch(case: Case) -> tuple[dict[str, Any], list[Answer], Batch | None]:
    """Give the loss of an online trainer the rollouts, instead of sampling again."""
    rollouts = case.rollouts
    inputs = rollouts.inputs
    trainer = case.trainer
    trainer._prepare_inputs = lambda _inputs: inputs
    return inputs, rollouts.answers, None


@contextmanager
def perturbed(case: Case, share: float = 0.5, seed: int = 0) -> Iterator[None]:
    """Disturb the trainable weights, and put them back."""
    copies = case.snapshot.copies()
    weights = [p for p in case.subject.model.parameters() if p.requires_grad]
    if any(id(w) not in copies for w in weights):
        raise NotTestable("some weights were made after the snapshot")
    draw = torch.Generator().manual_seed(seed)
    try:
        with torch.no_grad():
            for weight in weights:
                size = float(weight.float().square().mean().sqrt())
                noise = torch.randn(weight.shape, generator=draw).to(weight)
                weight.data.add_(noise, alpha=share * size if size > 0 else 0.05)
        yield
    finally:
        with torch.no_grad():
            for weight in weights:
                weight.data.copy_(copies[id(weight)])


@torch.no_grad()
def sampling_z(case: Case, rollouts: Rollouts) -> tuple[float, float, int]:
    """Ask whether completions were sampled from the present weights, as configured.

    Under the distribution q they are said to come from, log q(y) has mean −H(q). The difference,
    summed over tokens and divided by its standard deviation, is standard normal.

    Returns:
        z; the share of tokens that q cannot have produced; and how many tokens.
    """
    args = case.subject.args
    if float(getattr(args, "repetition_penalty", 1.0) or 1.0) != 1.0:
        raise NotTestable("repetition_penalty makes each token depend on all before it")
    if getattr(args, "generation_kwargs", None):
        raise NotTestable("generation_kwargs change the sampler in ways that are not recomputed")
    total = variance = 0.0
    outside = tokens = 0
    for one in rollouts.answers:
        if not one.tokens:
            continue
        row = _row_logits(case, one)
        nats = _warped(row, args).log_softmax(-1)
        ids = torch.tensor(one.ids[1:])[torch.tensor(one.reply[1:])]
        said = nats.gather(-1, ids[:, None].to(nats.device)).squeeze(-1)
        q = nats.exp()
        safe = torch.where(q > 0, nats, torch.zeros_like(nats))
        mean = (q * safe).sum(-1)
        spread = (q * safe.square()).sum(-1) - mean.square()
        inside = torch.isfinite(said)
        outside += int((~inside).sum())
        tokens += len(said)
        total += float((said - mean)[inside].sum())
        variance += float(spread.clamp(min=0)[inside].sum())
    if tokens == 0 or variance <= 1e-9:
        raise NotTestable("the model's next tokens are certain: nothing to compare")
    return total / variance**0.5, outside / tokens, tokens


def _row_logits(case: Case, one: Answer) -> torch.Tensor:
    model = case.subject.model
    device = next(model.parameters()).device
    ids = torch.tensor([list(one.ids)], device=device)
    with evaluation(model), case.autocast():
        out = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    row = torch.as_tensor(out.logits)[0, :-1].float()
    return row[torch.tensor(one.reply[1:], device=row.device)]


def _warped(row: torch.Tensor, args: Any) -> torch.Tensor:
    from transformers import (
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    temperature = float(args.temperature)
    if temperature != 1.0:
        row = TemperatureLogitsWarper(temperature)(None, row)
    if getattr(args, "top_k", None):
        row = TopKLogitsWarper(int(args.top_k))(None, row)
    if getattr(args, "top_p", None) is not None and args.top_p < 1.0:
        row = TopPLogitsWarper(float(args.top_p))(None, row)
    if getattr(args, "min_p", None) is not None:
        row = MinPLogitsWarper(float(args.min_p))(None, row)
    return row
