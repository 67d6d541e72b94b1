"""Does the fast engine serve the weights that the Teacher made?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from custodes.conversation import Chat
from custodes.models import Sampling, ScoringModel
from custodes.models.resolve import load_torch
from custodes.oversight.worker import ModelWorker

__all__ = ["served_control"]

TOKENS = 12
"""Texts of two engines part at some token, by rounding, and stay apart: short ones say more."""


def served_control(
    worker: ModelWorker, before: ModelWorker | None, chats: Sequence[Chat]
) -> dict[str, Any] | None:
    """Compare what is served with torch, under the new weights and under the old.

    Agreement alone cannot tell a stale export of a small change from a fresh one: the two write
    nearly the same. The contrast can: greedy text is likelier under the weights that wrote it.

    Args:
        worker: The Worker with its new checkpoint.
        before: The same Worker as it was; None for the first checkpoint.
        chats: What to ask.

    Returns:
        ``engine``; ``agreement``: the share of the served greedy text that torch writes as well,
        up to the first difference, in [0, 1]; ``contrast``: mean log-probability of the served
        text under the new weights minus that under the old, in nats a token, None where there
        are no old ones. None for a Worker that torch cannot run (an endpoint, the simulated one),
        and where nothing is new.
    """
    if worker.serving.engine in ("endpoint", "simulated"):
        return None
    if before is not None and worker.checkpoint.adapter == before.checkpoint.adapter:
        return None
    greedy = Sampling(max_tokens=TOKENS, temperature=0.0)
    served = [answers[0] for answers in worker.serving.generate(chats, greedy)]
    new = load_torch(worker.name, adapter=worker.checkpoint.adapter)
    ours = [answers[0] for answers in new.generate(chats, greedy)]
    contrast = None
    if before is not None:
        said = [i for i, text in enumerate(served) if text]
        asked, texts = [chats[i] for i in said], [served[i] for i in said]
        old = new.with_adapter(before.checkpoint.adapter)
        contrast = round(_per_token(new, asked, texts) - _per_token(old, asked, texts), 5)
    return {
        "engine": worker.serving.engine,
        "agreement": round(_agreement(served, ours), 4),
        "contrast": contrast,
    }


def _per_token(model: ScoringModel, chats: Sequence[Chat], texts: Sequence[str]) -> float:
    scored = model.logprobs(chats, texts)
    tokens = sum(len(row.tokens) for row in scored)
    return sum(row.total for row in scored) / tokens if tokens else 0.0


def _agreement(served: Sequence[str], ours: Sequence[str]) -> float:
    """Mean share of the longer text before the first difference; two empty texts agree."""
    shares = []
    for a, b in zip(served, ours, strict=True):
        longest = max(len(a), len(b))
        same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
        shares.append(
            1.0 if not longest else (min(len(a), len(b)) if same is None else same) / longest
        )
    return sum(shares) / len(shares) if shares else 0.0
