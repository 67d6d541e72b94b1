"""Log-probabilities by a forward pass of our own, the trainer's loss code left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["Answer", "evaluation", "log_probs", "logits", "scores", "totals"]


@dataclass(frozen=True)
class Answer:
    """Token ids of one sequence, and which of them are its reply.

    Attributes:
        ids: Prompt and reply.
        reply: Whether each token belongs to the reply, (len(ids),).
        sign: +1 where training should make the reply likelier, −1 where less likely.
        group: Rows of a pair or a prompt share it.
    """

    ids: tuple[int, ...]
    reply: tuple[bool, ...]
    sign: int = 1
    group: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of the reply that can be predicted."""
        return sum(self.reply[1:])


@contextmanager
def evaluation(model: Any) -> Iterator[None]:
    """Switch dropout off, and put every module's mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _padded(rows: Sequence[Sequence[int]], pad: int, side: str, device: Any) -> tuple[Any, Any]:
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for place, row in enumerate(rows):
        where = slice(0, len(row)) if side == "right" else slice(longest - len(row), longest)
        ids[place, where] = torch.tensor(list(row), dtype=torch.long)
        mask[place, where] = 1
    return ids.to(device), mask.to(device)


@torch.no_grad()
def logits(
    model: Any,
    rows: Sequence[Sequence[int]],
    *,
    pad: int = 0,
    side: str = "right",
    autocast: Any = None,
) -> torch.Tensor:
    """Return float32 logits of padded rows, (rows, longest, vocabulary)."""
    device = next(model.parameters()).device
    ids, mask = _padded(rows, pad, side, device)
    with evaluation(model), autocast() if autocast is not None else torch.no_grad():
        out = model(input_ids=ids, attention_mask=mask, use_cache=False)
    return torch.as_tensor(out.logits).float()


def log_probs(
    model: Any,
    answers: Sequence[Answer],
    *,
    pad: int = 0,
    autocast: Any = None,
    temperature: float = 1.0,
) -> list[torch.Tensor]:
    """Return the log-probability of each token of each reply, one tensor a row, in nats."""
    found: list[torch.Tensor] = []
    for start in range(0, len(answers), 8):
        part = answers[start : start + 8]
        every = logits(model, [one.ids for one in part], pad=pad, autocast=autocast)
        for row, one in zip(every, part, strict=True):
            length = len(one.ids)
            ids = torch.tensor(one.ids[1:], device=row.device)
            at = torch.tensor(one.reply[1:], device=row.device)
            nats = (row[: length - 1] / temperature)[at].log_softmax(-1)
            found.append(nats.gather(-1, ids[at, None]).squeeze(-1).cpu())
    return found


def totals(nats: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum the log-probabilities of each row in float64, (rows,)."""
    return torch.stack([one.double().sum() for one in nats])


@torch.no_grad()
def scores(
    model: Any,
    rows: Sequence[Sequence[int]],
    *,
    pad: int,
    side: str = "right",
    autocast: Any = None,
) -> torch.Tensor:
    """Return what a reward model gives each row, (rows,)."""
    device = next(model.parameters()).device
    ids, mask = _padded(rows, pad, side, device)
    with evaluation(model), autocast() if autocast is not None else torch.no_grad():
        out = model(input_ids=ids, attention_mask=mask)
    return torch.as_tensor(out.logits).float()[:, 0].cpu()
