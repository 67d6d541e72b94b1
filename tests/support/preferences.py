"""Preferences with a planted signal, and a frozen base whose states are known to hold it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from custodes.conversation import Chat, PreferencePair
from custodes.experts.heads.reading import Reading
from custodes.models.base import Array, Sampling, TokenLogprobs, Usage

WIDTH = 16
READINGS = (Reading(1), Reading(2, "good", "last"))


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

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
        raise NotImplementedError

    def logprobs(self, chats: Sequence[Chat], completions: Sequence[str]) -> list[TokenLogprobs]:
        raise NotImplementedError


def make_pairs(n: int, seed: int = 0, noise: float = 0.1) -> list[PreferencePair]:
    """People who like the letter e: the answer with more of them is chosen, but for the noise."""
    rng = np.random.default_rng(seed)
    pairs = []
    for i in range(n):
        better, worse = ("".join(rng.choice(list("abcdxyz"), 20)) for _ in range(2))
        better += "e" * int(rng.integers(3, 8))
        if rng.random() < noise:
            better, worse = worse, better
        prompt = ({"role": "user", "content": f"question number {i // 2}"},)
        pairs.append(PreferencePair(f"p{i}", prompt, better, worse))  # type: ignore[arg-type]
    return pairs


def write_pairs(path: Path, pairs: Sequence[PreferencePair]) -> Path:
    rows = [
        {"id": p.id, "prompt": list(p.prompt), "chosen": p.chosen, "rejected": p.rejected}
        for p in pairs
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
