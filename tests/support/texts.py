"""Made-up responses: two independent samples of a model that does not exist."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from custodes.diff.responses import Responses

TOPICS = {
    "garden": [
        "soil",
        "seed",
        "water",
        "plant",
        "flower",
        "garden",
        "sun",
        "root",
        "leaf",
        "tree",
        "grow",
        "spring",
    ],
    "kitchen": [
        "bread",
        "oven",
        "butter",
        "flour",
        "taste",
        "dinner",
        "cook",
        "pan",
        "sauce",
        "salt",
        "stir",
        "bake",
    ],
    "machine": [
        "engine",
        "wheel",
        "motor",
        "gear",
        "steel",
        "oil",
        "drive",
        "speed",
        "power",
        "metal",
        "turn",
        "belt",
    ],
    "music": [
        "song",
        "note",
        "piano",
        "rhythm",
        "voice",
        "melody",
        "drum",
        "play",
        "tune",
        "chord",
        "listen",
        "band",
    ],
}
GLUE = [
    "the",
    "a",
    "of",
    "and",
    "to",
    "in",
    "is",
    "it",
    "that",
    "with",
    "for",
    "on",
    "as",
    "can",
    "will",
    "often",
    "some",
    "more",
    "then",
]


def made_up(n: int, seed: int, name: str, samples: int = 1) -> Responses:
    """Answer the same ``n`` prompts with word salad on their topic."""
    rng = np.random.default_rng(seed)
    topics = [list(TOPICS)[i % 4] for i in range(n)]
    prompts = tuple(f"tell me about the {t} number {i}" for i, t in enumerate(topics))
    texts = tuple(tuple(_answer(t, rng) for _ in range(samples)) for t in topics)
    return Responses(name, tuple(f"p-{i}" for i in range(n)), prompts, texts)


def _answer(topic: str, rng: np.random.Generator) -> str:
    sentences = []
    for _ in range(int(rng.integers(2, 6))):
        words = [
            str(rng.choice(TOPICS[topic] if rng.random() < 0.4 else GLUE))
            for _ in range(int(rng.integers(4, 12)))
        ]
        sentences.append(" ".join(words).capitalize() + str(rng.choice([".", ".", ".", "!"])))
    return " ".join(sentences)


def edited(base: Responses, ids: set[str], edit: Callable[[str], str], name: str) -> Responses:
    """Edit every response to some of the prompts."""
    texts = tuple(
        tuple(edit(t) for t in texts) if i in ids else texts
        for i, texts in zip(base.ids, base.texts, strict=True)
    )
    return Responses(name, base.ids, base.prompts, texts)
