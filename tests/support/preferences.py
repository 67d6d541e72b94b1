"""Preferences with a planted signal, and a frozen base whose states are known to hold it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from custodes.conversation import Chat, PreferencePair
from custodes.experts.heads.fit import Sources
from custodes.experts.heads.reading import Reading
from custodes.models.base import Array, Sampling, TokenLogprobs, Usage
from custodes.models.exchange import ALONE_TOKENS, GIVEN_TOKENS, Exchanges

WIDTH = 16
SOURCES = Sources((Reading(1), Reading(2, "last")), Reading(1, "start"))


class CountingModel:
    """States are letter counts of the last answer, mixed by a seed; layers scale them."""

    engine = "fake"

    def __init__(self, seed: int = 0, width: int = WIDTH) -> None:
        self.name = f"counting-{seed}"
        self.version = f"counting-{seed}-{width}"
        self.usage = Usage()
        self._mix = np.random.default_rng(seed).normal(size=(26, width))
        self.batches: list[int] = []

    def hidden(self, chats: Sequence[Chat], layers: Sequence[int]) -> Array:
        self.batches.append(len(chats))
        said = ["".join(m["content"] for m in chat if m["role"] == "assistant") for chat in chats]
        counts = np.array(
            [[text.lower().count(chr(97 + i)) for i in range(26)] for text in said], float
        )
        states = (counts @ self._mix)[:, None, None, :]
        depth = 1 + np.array(layers)[None, :, None, None]
        pools = np.array([1.0, -0.5])[None, None, :, None]
        return np.asarray(states * depth * pools, np.float32)

    def exchanges(
        self, chats: Sequence[Chat], answers: Sequence[str], layers: Sequence[int]
    ) -> Exchanges:
        """States count letters; words that the prompt has too are likelier with it than without."""
        self.batches.append(len(chats))
        counts = np.array(
            [[text.lower().count(chr(97 + i)) for i in range(26)] for text in answers], float
        ).reshape(len(answers), 26)
        asked = np.array(
            [[chat[-1]["content"].lower().count(chr(97 + i)) for i in range(26)] for chat in chats],
            float,
        ).reshape(len(chats), 26)
        states = np.stack([asked, counts, -0.5 * counts], axis=1) @ self._mix
        depth = 1 + np.array(layers, float)
        given, alone = [], []
        for chat, answer in zip(chats, answers, strict=True):
            tokens = answer.lower().strip(".").split()
            known = set(chat[-1]["content"].lower().strip("?").split())
            # This model's language is words in alphabetical order, about a word of the prompt.
            ordered = [a <= b for a, b in zip(["", *tokens], tokens, strict=False)]
            bare = [-2.0 if right else -9.0 for right in ordered]
            alone.append(np.array(bare[:ALONE_TOKENS], np.float32))
            asked_for = [b + 1.5 * (t in known) for b, t in zip(bare, tokens, strict=True)]
            given.append(np.array(asked_for[:GIVEN_TOKENS], np.float32))
        return Exchanges(
            np.asarray(states[:, None] * depth[None, :, None, None], np.float32),
            tuple(given),
            tuple(alone),
            np.array([-0.1 if a.endswith(".") else -5.0 for a in answers], np.float32),
            np.array([len(a.split()) for a in answers], np.float32),
        )

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
        raise NotImplementedError

    def logprobs(self, chats: Sequence[Chat], completions: Sequence[str]) -> list[TokenLogprobs]:
        raise NotImplementedError


def make_pairs(n: int, seed: int = 0, noise: float = 0.1) -> list[PreferencePair]:
    """People who like the letter e: the answer with more of them is chosen, but for the noise."""
    rng = np.random.default_rng(seed)
    pairs = []
    for i in range(n):
        topic = f"t{i // 2 % 90 + 10}q"

        def answer(liked: int, topic: str = topic) -> str:
            words = ["".join(rng.choice(list("abcdxyz"), 4)) for _ in range(12)]
            for at in rng.choice(12, liked, replace=False):
                words[at] += "e"
            return " ".join(sorted([*words, topic, topic])) + "."

        better, worse = answer(int(rng.integers(4, 9))), answer(int(rng.integers(0, 2)))
        if rng.random() < noise:
            better, worse = worse, better
        prompt = ({"role": "user", "content": f"question number {i // 2} about {topic}?"},)
        pairs.append(PreferencePair(f"p{i}", prompt, better, worse))  # type: ignore[arg-type]
    return pairs


def write_pairs(path: Path, pairs: Sequence[PreferencePair]) -> Path:
    rows = [
        {"id": p.id, "prompt": list(p.prompt), "chosen": p.chosen, "rejected": p.rejected}
        for p in pairs
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
