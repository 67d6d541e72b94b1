"""What the wording of an answer shows, without a model: repetition, echo, form and stance."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np

from custodes.experts.refusal import stance
from custodes.models.base import Array

__all__ = ["STANCE_FEATURES", "TEXT_FEATURES", "text_features"]

TEXT_FEATURES: tuple[str, ...] = (
    "words",
    "distinct words",
    "distinct bigrams",
    "distinct trigrams",
    "compression",
    "echo",
    "prompt cover",
    "word overlap",
    "ended",
    "opened",
    "word length",
    "letters",
    "function words",
    "odd words",
    "sentence length",
    "refusal",
    "compliance",
    "bare",
)
"""Names, in the order of the columns."""

STANCE_FEATURES = ("refusal", "compliance", "bare")
"""Those that say whether the answer refuses, complies, or promises to comply and stops there."""

_FUNCTION = frozenset(
    [
        "the",
        "a",
        "an",
        "of",
        "to",
        "in",
        "and",
        "or",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "it",
        "its",
        "this",
        "that",
        "these",
        "those",
        "for",
        "on",
        "with",
        "as",
        "at",
        "by",
        "from",
        "you",
        "your",
        "i",
        "my",
        "we",
        "our",
        "they",
        "their",
        "he",
        "his",
        "she",
        "her",
        "not",
        "no",
        "but",
        "if",
        "so",
        "can",
        "will",
        "would",
        "should",
        "could",
        "have",
        "has",
        "had",
        "do",
        "does",
        "did",
        "there",
        "here",
        "what",
        "which",
        "who",
        "when",
        "how",
        "than",
        "then",
        "them",
        "us",
        "me",
        "about",
        "into",
        "up",
        "out",
        "over",
        "more",
        "most",
        "some",
        "any",
        "all",
        "one",
        "two",
        "also",
        "just",
        "like",
        "don't",
    ]
)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_END = re.compile(r"[.!?…:)\]\"”'’*`]\s*$")
_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s*\S")
_ODD = re.compile(r"[a-z][A-Z]|[^\W\d_]\d|[^\x00-\x7f–—…‘’“”]|[{}\[\]<>|\\^~=_]|[,.;:!?]\w")


def text_features(prompt: str, text: str) -> Array:
    """Describe an answer to a prompt.

    Args:
        prompt: The user's last message.
        text: The answer.

    Returns:
        Shape (len(TEXT_FEATURES),). Shares are in [0, 1]; counts are log(1 + n).
    """
    raw, words = text.split(), [word.lower() for word in _WORD.findall(text)]
    asked = [word.lower() for word in _WORD.findall(prompt)]
    content, wanted = set(words) - _FUNCTION, set(asked) - _FUNCTION
    packed = text.encode("utf-8", "replace")
    read = stance(text)
    lines = [line for line in text.splitlines() if line.strip()]
    listed = bool(lines) and len(lines) > 1 and _ITEM.match(lines[-1]) is not None
    sentences = max(1, len(re.findall(r"[.!?]+(?:\s|$)|\n+", text)))
    return np.array(
        [
            np.log1p(len(words)),
            _distinct(words, 1),
            _distinct(words, 2),
            _distinct(words, 3),
            min(1.5, len(zlib.compress(packed, 6)) / max(1, len(packed))),
            _shared(_grams(words, 3), _grams(asked, 3)),
            _shared(_grams(asked, 3), _grams(words, 3)),
            len(content & wanted) / max(1, len(content)),
            float(_END.search(text) is not None or listed),
            float(bool(raw) and (raw[0][:1].isupper() or not raw[0][:1].isalpha())),
            min(12.0, sum(map(len, words)) / max(1, len(words))),
            sum(c.isalpha() or c.isspace() for c in text) / max(1, len(text)),
            sum(word in _FUNCTION for word in words) / max(1, len(words)),
            sum(_ODD.search(word) is not None for word in raw) / max(1, len(raw)),
            np.log1p(len(words) / sentences),
            read.refusal,
            float(read.compliance),
            float(read.compliance) / (1 + len(words) / 12),
        ],
        np.float32,
    )


def _grams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[i:] for i in range(n)), strict=False))


def _distinct(words: Sequence[str], n: int) -> float:
    grams = _grams(words, n)
    return len(set(grams)) / len(grams) if grams else 1.0


def _shared(grams: Sequence[tuple[str, ...]], others: Sequence[tuple[str, ...]]) -> float:
    """Share of the grams that are among the others."""
    known = set(others)
    return sum(gram in known for gram in grams) / len(grams) if grams else 0.0
