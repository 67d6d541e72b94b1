"""What a step should raise, by trainer: the measure that the trainer's own code has no part in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from custodes.preflight.measure.forward import Answer, log_probs, scores

if TYPE_CHECKING:
    from custodes.preflight.case import Case

__all__ = ["Target", "target_of"]


@dataclass(frozen=True)
class Target:
    """A quantity that training should raise.

    Attributes:
        name: What it is, as a phrase.
        unit: Of its change.
        measure: Computes one value a row, at the model's present weights.
        signs: +1 for rows that should rise, −1 for those that should fall, (rows,).
        noise: Smallest change that is not rounding.
        large: A change above it may have overshot.
        paired: Whether rows come as pairs.
    """

    name: str
    unit: str
    measure: Callable[[], torch.Tensor]
    signs: torch.Tensor
    noise: float
    large: float
    paired: bool

    def change(self, before: torch.Tensor, after: torch.Tensor) -> tuple[float, float | None]:
        """Return the signed mean change, and that of the rows that should rise."""
        delta = (after - before).double()
        up, down = self.signs > 0, self.signs < 0
        parts = [delta[up].mean()] if bool(up.any()) else []
        parts += [-delta[down].mean()] if bool(down.any()) else []
        rising = float(delta[up].mean()) if bool(up.any()) and self.paired else None
        return float(torch.stack(parts).sum()), rising


_NAMES = {
    "sft": "mean log-probability of the reply tokens",
    "plain": "mean log-probability of the trained tokens",
    "dpo": "log-probability margin of chosen over rejected replies",
    "kto": "log-probability of desirable minus undesirable replies",
    "grpo": "log-probability of better- minus worse-rewarded completions",
    "rloo": "log-probability of better- minus worse-rewarded completions",
}


def target_of(case: Case, answers: Sequence[Answer]) -> Target | None:
    """Return what the step should raise; None where only the trainer's loss can say."""
    subject = case.subject
    model = subject.model
    signs = torch.tensor([float(one.sign) for one in answers])
    coarse = _coarse(case)
    if subject.kind == "reward":
        rows = [one.ids for one in answers]

        def score() -> torch.Tensor:
            return scores(model, rows, pad=case.pad, autocast=case.autocast).double()

        return Target(
            "score margin of chosen over rejected replies",
            "points",
            score,
            signs,
            2e-2 if coarse else 1e-4,
            5.0,
            True,
        )
    usable = [one for one in answers if one.tokens]
    if not subject.causal or not usable:
        return None
    kept = torch.tensor([one.tokens > 0 for one in answers])

    def nats() -> torch.Tensor:
        found = log_probs(
            model,
            usable,
            pad=case.pad,
            autocast=case.autocast,
            temperature=float(getattr(case.trainer, "temperature", None) or 1.0),
        )
        return torch.stack([row.double().mean() for row in found])

    return Target(
        _NAMES[subject.kind],
        "nats a token",
        nats,
        signs[kept],
        1e-2 if coarse else 1e-4,
        2.0,
        subject.kind not in ("sft", "plain"),
    )


def _coarse(case: Case) -> bool:
    """Whether the forward pass rounds to 16 bits."""
    args: Any = case.subject.args
    dtypes = {p.dtype for p in case.subject.model.parameters()}
    return bool(args.bf16 or args.fp16 or dtypes & {torch.bfloat16, torch.float16})
