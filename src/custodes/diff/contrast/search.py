"""A search for prompts on which two models diverge, with a proposer or without."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from custodes.conversation import Chat, user_chat
from custodes.diff.features.embedding import embed
from custodes.diff.features.text import tokenize
from custodes.errors import ConfigError
from custodes.models.base import LanguageModel, Sampling, ScoringModel
from custodes.progress import Progress, silent
from custodes.seeds import derive

__all__ = ["DivergentPrompt", "divergences", "search_prompts"]

Systems = tuple[str | None, str | None]

SIMILAR = 0.8  # Of two prompts with a larger cosine similarity only one is kept.
EXAMPLES = 5
FRAMES = (
    "Tell me about {}.", "Why is {} important?", "Write a short story about {}.",
    "How does {} work?", "What do you think of {}?", "Give me advice about {}.",
)  # fmt: skip
PROPOSE = """Here are some requests:
{listed}

Write {count} new requests of the same kind about other things, one on each line, as "- ..."."""


@dataclass(frozen=True)
class DivergentPrompt:
    """A prompt, and how far the models diverge on it.

    Attributes:
        prompt: Untrusted where a proposer wrote it.
        divergence: Estimated Jeffreys divergence, nats a token.
        answer_a: A's answer, untrusted.
        answer_b: B's answer, untrusted.
        round: The round that proposed it; 0 for the prompts at the start.
    """

    prompt: str
    divergence: float
    answer_a: str
    answer_b: str
    round: int


def divergences(
    a: ScoringModel,
    b: ScoringModel,
    prompts: Sequence[str],
    sampling: Sampling,
    systems: Systems = (None, None),
) -> list[tuple[float, str, str]]:
    """Estimate how far two models diverge on each prompt, from one answer of each.

    Jeffreys divergence, KL(B‖A) + KL(A‖B), in nats a token. Each term is estimated on the answer of
    the model on its left.

    Args:
        a: One model.
        b: The other.
        prompts: The prompts.
        sampling: Sampling parameters of the answers. At a temperature other than 1 the answers are
            not drawn from the models' own distributions, and the estimate is of no KL.
        systems: System prompts of A and of B.

    Returns:
        The divergence, A's answer and B's answer, for each prompt.
    """
    for_a: list[Chat] = [user_chat(p, systems[0]) for p in prompts]
    for_b: list[Chat] = [user_chat(p, systems[1]) for p in prompts]
    by_a = [texts[0] for texts in a.generate(for_a, sampling)]
    by_b = [texts[0] for texts in b.generate(for_b, sampling)]
    total = np.zeros(len(prompts))
    for sign, answers in ((1, by_a), (-1, by_b)):
        pairs = zip(a.logprobs(for_a, answers), b.logprobs(for_b, answers), strict=True)
        for i, (p, q) in enumerate(pairs):
            total[i] += sign * (p.total - q.total) / max(len(p.tokens), 1)
    return list(zip(total.tolist(), by_a, by_b, strict=True))


def search_prompts(
    a: ScoringModel,
    b: ScoringModel,
    prompts: Sequence[str],
    *,
    rounds: int = 3,
    width: int = 32,
    keep: int = 10,
    proposer: LanguageModel | None = None,
    sampling: Sampling | None = None,
    systems: Systems = (None, None),
    progress: Progress = silent,
) -> list[DivergentPrompt]:
    """Search for prompts on which two models diverge most.

    Every round proposes ``width`` prompts similar to the best so far, by a proposer or by
    recombining words of prompts. It scores them in one batch, and keeps the ``keep`` best that are
    not similar to each other.

    Args:
        a: One model.
        b: The other.
        prompts: Prompts to begin with; at least one.
        rounds: Number of rounds, >= 0.
        width: Prompts in a round.
        keep: Prompts to return at most.
        proposer: Writes new prompts; without one, words of prompts are recombined.
        sampling: Sampling parameters of the answers; its seed draws the whole search.
        systems: System prompts of A and of B.
        progress: Called after every round.

    Returns:
        The prompts, by falling divergence.

    Raises:
        ConfigError: There is no prompt to begin with, or a number is out of range.
    """
    if not prompts or rounds < 0 or width < 1 or keep < 1:
        raise ConfigError(
            f"{len(prompts)} prompts, {rounds} rounds, width {width}, keep {keep}",
            "begin with a prompt; width and keep are at least 1",
        )
    sampling = sampling or Sampling(max_tokens=32)
    known = set(prompts)
    task = "prompts on which they diverge"
    progress(task, 0, rounds + 1)

    def score(new: list[str], number: int, best: list[DivergentPrompt]) -> list[DivergentPrompt]:
        scored = zip(new, divergences(a, b, new, sampling, systems), strict=True)
        return _diverse(
            [*best, *(DivergentPrompt(p, *values, number) for p, values in scored)], keep
        )

    best = score(list(dict.fromkeys(prompts)), 0, [])
    progress(task, 1, rounds + 1)
    for k in range(1, rounds + 1):
        rng = np.random.default_rng(derive(sampling.seed, "search", k))
        if proposer is None:
            new = _recombined([f.prompt for f in best], list(prompts), width, rng)
        else:
            new = _proposed([f.prompt for f in best], proposer, width, rng)
        new = [p for p in dict.fromkeys(new) if p not in known]
        known.update(new)
        if new:
            best = score(new, k, best)
        progress(task, k + 1, rounds + 1)
    return best


def _diverse(scored: list[DivergentPrompt], keep: int) -> list[DivergentPrompt]:
    """Return the best prompts that are not similar to a better one."""
    scored.sort(key=lambda one: (-one.divergence, one.prompt))
    points = embed([one.prompt for one in scored])
    kept: list[int] = []
    for i in range(len(scored)):
        if len(kept) < keep and all(points[i] @ points[j] < SIMILAR for j in kept):
            kept.append(i)
    return [scored[i] for i in kept]


def _recombined(
    best: list[str], prompts: list[str], width: int, rng: np.random.Generator
) -> list[str]:
    """Put words of one prompt into another, halves together, or subjects into plain frames."""
    subjects = [t for p in best + prompts for t in tokenize(p) if t.isalpha() and len(t) > 4]
    subjects = subjects or ["this"]
    out = []
    for _ in range(width):
        words = str(rng.choice(best)).split()
        other = str(rng.choice(prompts)).split()
        kind = rng.integers(3)
        if kind == 0:
            words[int(rng.integers(len(words)))] = str(rng.choice(subjects))
            out.append(" ".join(words))
        elif kind == 1:
            out.append(" ".join([*words[: (len(words) + 1) // 2], *other[len(other) // 2 :]]))
        else:
            out.append(str(rng.choice(FRAMES)).format(rng.choice(subjects)))
    return out


def _proposed(
    best: list[str], proposer: LanguageModel, width: int, rng: np.random.Generator
) -> list[str]:
    count = 4
    chats: list[Chat] = []
    for _ in range(-(-width // count)):
        examples = rng.choice(best, min(EXAMPLES, len(best)), replace=False)
        listed = "\n".join(f"- {' '.join(str(p).split())}" for p in examples)
        chats.append(user_chat(PROPOSE.format(listed=listed, count=count)))
    seed = int(rng.integers(2**31))
    replies = proposer.generate(chats, Sampling(max_tokens=128, temperature=0.9, seed=seed))
    lines = [line for (reply,) in replies for line in reply.splitlines()]
    items = [re.match(r"\s*(?:[-*•]|\d+[.)])\s+(\S.{3,300})", line) for line in lines]
    return [m[1].strip() for m in items if m][:width]
