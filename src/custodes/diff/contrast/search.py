"""A search for prompts on which two models part: seeded, diverse, with a proposer or without."""

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

__all__ = ["FoundPrompt", "divergences", "search_prompts"]

Systems = tuple[str | None, str | None]

ALIKE = 0.8  # Prompts with a larger cosine are too alike to keep both.
SHOWN = 5
FRAMES = (
    "Tell me about {}.", "Why is {} important?", "Write a short story about {}.",
    "How does {} work?", "What do you think of {}?", "Give me advice about {}.",
)  # fmt: skip
PROPOSE = """Here are some requests:
{listed}

Write {count} new requests of the same kind about other things, one on each line, as "- ..."."""


@dataclass(frozen=True)
class FoundPrompt:
    """A prompt, and how far the models part on it.

    Attributes:
        prompt: Untrusted where a proposer wrote it.
        divergence: Estimated Jeffreys divergence, nats a token.
        answer_a: What A said, untrusted.
        answer_b: What B said, untrusted.
        round: In which round it was proposed; 0 for the prompts given.
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
    """Estimate how far two models part on each prompt, by one answer of each.

    KL(B‖A) + KL(A‖B) for each token, each estimated on the answer of the model on its left.

    Args:
        a: One model.
        b: The other.
        prompts: What to ask.
        sampling: Of the answers. At another temperature than 1 the estimate is of divergence along
            what the models do say then, not of a KL.
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
) -> list[FoundPrompt]:
    """Search prompts on which two models part most.

    Every round proposes ``width`` prompts like the best so far (by recombining their words with
    those of the others, or by asking a proposer), scores them in one batch, and keeps the
    ``keep`` best that are not alike.

    Args:
        a: One model.
        b: The other.
        prompts: Where to begin; at least one.
        rounds: How often to propose, >= 0.
        width: Prompts in a round.
        keep: Prompts to return at most.
        proposer: Writes new prompts; words are recombined where there is none.
        sampling: Of the answers; its seed seeds the whole search.
        systems: System prompts of A and of B.
        progress: Told after every round.

    Returns:
        The prompts found, by falling divergence.

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
    what = "prompts on which they part"
    progress(what, 0, rounds + 1)

    def score(new: list[str], number: int, best: list[FoundPrompt]) -> list[FoundPrompt]:
        scored = zip(new, divergences(a, b, new, sampling, systems), strict=True)
        return _diverse([*best, *(FoundPrompt(p, *values, number) for p, values in scored)], keep)

    best = score(list(dict.fromkeys(prompts)), 0, [])
    progress(what, 1, rounds + 1)
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
        progress(what, k + 1, rounds + 1)
    return best


def _diverse(found: list[FoundPrompt], keep: int) -> list[FoundPrompt]:
    """Keep the best that are not alike."""
    found.sort(key=lambda f: (-f.divergence, f.prompt))
    points = embed([f.prompt for f in found])
    chosen: list[int] = []
    for i in range(len(found)):
        if len(chosen) < keep and all(points[i] @ points[j] < ALIKE for j in chosen):
            chosen.append(i)
    return [found[i] for i in chosen]


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
        sort = rng.integers(3)
        if sort == 0:
            words[int(rng.integers(len(words)))] = str(rng.choice(subjects))
            out.append(" ".join(words))
        elif sort == 1:
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
        shown = rng.choice(best, min(SHOWN, len(best)), replace=False)
        listed = "\n".join(f"- {' '.join(str(p).split())}" for p in shown)
        chats.append(user_chat(PROPOSE.format(listed=listed, count=count)))
    seed = int(rng.integers(2**31))
    replies = proposer.generate(chats, Sampling(max_tokens=128, temperature=0.9, seed=seed))
    lines = [line for (reply,) in replies for line in reply.splitlines()]
    said = [re.match(r"\s*(?:[-*•]|\d+[.)])\s+(\S.{3,300})", line) for line in lines]
    return [m[1].strip() for m in said if m][:width]
