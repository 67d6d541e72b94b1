"""Whether the fast engine serves the weights that the Teacher made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from custodes.control import Control
from custodes.conversation import Chat
from custodes.models import Sampling, ScoringModel
from custodes.models.memory import release_memory
from custodes.models.resolve import load_torch
from custodes.oversight.worker import ModelWorker

__all__ = ["ServingCheck", "serving_check"]

TOKENS = 12
"""Length of the compared texts: rounding lets two engines diverge at some token, and from there on
the texts differ, so that short texts say more."""

LEAST_AGREEMENT = 0.5

ROUNDING = 0.03
"""Nats a token. The rounding of the served weights (Q8_0) moved the contrast of small trainings by
up to 0.01: a change of the weights that moves it by no more than this is too small to be told."""


@dataclass(frozen=True)
class ServingCheck:
    """The served weights compared with torch.

    Attributes:
        engine: The serving engine.
        agreement: Share of the served greedy text that torch writes as well, up to the first
            difference, in [0, 1]; None where it was not tested.
        contrast: Mean log-probability of the served text under the new weights minus that under
            the old, in nats a token; None where there are no old ones.
        separation: How much higher the contrast of torch's own text under the new weights is than
            that of its text under the old, in nats a token; None where there are no old ones.
        not_tested: Why nothing was compared, else "".
    """

    engine: str
    agreement: float | None = None
    contrast: float | None = None
    separation: float | None = None
    not_tested: str = ""

    def control(self) -> Control:
        """Check that the new weights are served."""
        name = "weights served"
        if self.agreement is None:
            return Control.not_tested(name, self.not_tested)
        agrees = self.agreement >= LEAST_AGREEMENT
        if agrees and self.separation is not None and self.separation <= ROUNDING:
            return Control(
                name,
                None,
                f"texts of the new and the old weights themselves differ by {self.separation:.3f} "
                f"nats a token (more than {ROUNDING} are needed to tell the weights by a text)",
                self._figures,
            )
        explanation = (
            f"greedy text of the {self.engine} engine agrees with torch's on {self.agreement:.0%} "
            f"of its length (must reach {LEAST_AGREEMENT:.0%})"
        )
        if self.contrast is not None:
            explanation += (
                f", and is {self.contrast:+.3f} nats a token likelier under the new weights than "
                "under the old (must be positive)"
            )
        return Control(
            name,
            agrees and (self.contrast is None or self.contrast > 0),
            explanation,
            self._figures,
        )

    @property
    def _figures(self) -> dict[str, float | None]:
        return {
            "agreement": self.agreement,
            "contrast": self.contrast,
            "separation": self.separation,
        }


def serving_check(
    worker: ModelWorker, before: ModelWorker | None, chats: Sequence[Chat]
) -> ServingCheck:
    """Compare what is served with torch, under the new weights and under the old.

    Agreement alone cannot tell a stale export of a small change from a fresh one: the two write
    nearly the same. The contrast can: greedy text is likelier under the weights that wrote it.
    Whether it can tell these two is measured on the texts that torch writes under either: their
    contrasts must be further apart than rounding.

    Args:
        worker: The Worker with its new checkpoint.
        before: The same Worker before it; None for the first checkpoint.
        chats: The prompts.
    """
    engine = worker.serving.engine
    if engine in ("endpoint", "simulated"):
        return ServingCheck(engine, not_tested=f"torch cannot run a Worker of the {engine} engine")
    if before is not None and worker.adapter == before.adapter:
        return ServingCheck(engine, not_tested="the checkpoint has the weights of its parent")
    greedy = Sampling(max_tokens=TOKENS, temperature=0.0)
    served = [answers[0] for answers in worker.serving.generate(chats, greedy)]
    new = load_torch(worker.base, adapter=worker.adapter)
    reference = [answers[0] for answers in new.generate(chats, greedy)]
    contrast = separation = None
    if before is not None:
        old = new.with_adapter(before.adapter)
        stale = [answers[0] for answers in old.generate(chats, greedy)]
        contrast, own, other = (
            _contrast(new, old, chats, texts) for texts in (served, reference, stale)
        )
        contrast, separation = round(contrast, 5), round(own - other, 5)
        del old
    del new
    release_memory()
    return ServingCheck(engine, round(_agreement(served, reference), 4), contrast, separation)


def _contrast(
    new: ScoringModel, old: ScoringModel, chats: Sequence[Chat], texts: Sequence[str]
) -> float:
    written = [(chat, text) for chat, text in zip(chats, texts, strict=True) if text]
    return _per_token(new, written) - _per_token(old, written)


def _per_token(model: ScoringModel, written: Sequence[tuple[Chat, str]]) -> float:
    scores = model.logprobs([chat for chat, _ in written], [text for _, text in written])
    tokens = sum(len(row.tokens) for row in scores)
    return sum(row.total for row in scores) / tokens if tokens else 0.0


def _agreement(served: Sequence[str], reference: Sequence[str]) -> float:
    """Mean share of the longer text before the first difference; two empty texts agree."""
    shares = []
    for a, b in zip(served, reference, strict=True):
        longest = max(len(a), len(b))
        same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
        shares.append(
            1.0 if not longest else (min(len(a), len(b)) if same is None else same) / longest
        )
    return sum(shares) / len(shares) if shares else 0.0
