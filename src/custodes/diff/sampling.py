"""Responses of models, sampled so that two models can be compared prompt by prompt."""

from __future__ import annotations

from collections.abc import Sequence

from custodes.conversation import user_chat
from custodes.diff.responses import Responses
from custodes.models.base import LanguageModel, Sampling

__all__ = ["respond"]


def respond(
    model: LanguageModel,
    prompts: Sequence[tuple[str, str]],
    sampling: Sampling,
    *,
    name: str | None = None,
    system: str | None = None,
) -> Responses:
    """Ask a model every prompt, ``sampling.n`` times, in one batch.

    Two models to be compared may be asked with the same seed: where an engine draws each prompt
    with random numbers of its own, what both would say alike they then say alike, and fewer
    prompts differ by chance. To compare a model with itself (A/A), use different seeds.

    Args:
        model: Who answers.
        prompts: Pairs of (id, prompt); ids are distinct.
        sampling: How to sample.
        name: What reports call this side, by default the model's name.
        system: System prompt to set before each prompt.
    """
    chats = [user_chat(prompt, system) for _, prompt in prompts]
    texts = model.generate(chats, sampling)
    return Responses(
        name or model.name,
        tuple(i for i, _ in prompts),
        tuple(prompt for _, prompt in prompts),
        tuple(tuple(t) for t in texts),
    )
