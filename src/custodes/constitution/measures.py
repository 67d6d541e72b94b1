"""Experts that count: harmless styles measured from the wording alone, without a model.

Each style has two measures that share no feature, so that one can train or gate and the other can
judge what came of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from custodes.conversation import Query
from custodes.errors import ConfigError, near_misses
from custodes.experts.expert import Rating
from custodes.models.base import Array

__all__ = ["MEASURES", "MeasureExpert"]

_WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*")
_SENTENCE = re.compile(r"[.!?]+(?:\s|$)")
_CONTRACTION = re.compile(r"\b\w+['’](?:m|re|ve|ll|d|s|t)\b", re.IGNORECASE)
_CASUAL = re.compile(
    r"\b(?:hey|hi|yeah|yep|nope|ok|okay|gonna|wanna|gotta|kinda|sorta|cool|awesome|stuff|guys?|lol|"
    r"totally|super|pretty|just|really|btw|thanks|folks|kids)\b|!",
    re.IGNORECASE,
)
_LEARNED = re.compile(
    r"\b\w{3,}(?:tion|sion|ment|ance|ence|ity|ure|ism|ology|ary|ize|ise|ate|ive|ous)s?\b",
    re.IGNORECASE,
)
_ORNAMENT = re.compile(
    r"\b(?:\w{3,}(?:ly|ful|ing|ous|ent|ant)|like a|as \w+ as|very|truly|most|such|so)\b",
    re.IGNORECASE,
)


def _words(text: str) -> int:
    return max(1, len(_WORD.findall(text)))


def _terse(text: str) -> float:
    """Fewer words; 20 words are the middle."""
    return 2.0 * (math.log(20) - math.log(_words(text)))


def _plain(text: str) -> float:
    """Fewer ornaments a word, whatever the length."""
    return 2.0 - 12.0 * len(_ORNAMENT.findall(text)) / _words(text)


def _formal(text: str) -> float:
    """Fewer contractions, slang words and exclamation marks a word."""
    casual = len(_CONTRACTION.findall(text)) + len(_CASUAL.findall(text))
    return 1.5 - 30.0 * casual / _words(text)


def _learned(text: str) -> float:
    """Longer words, with the endings of learned English."""
    words = _WORD.findall(text)
    length = sum(map(len, words)) / _words(text)
    return 1.2 * (length - 4.7) + 8.0 * (len(_LEARNED.findall(text)) / _words(text) - 0.08)


MEASURES: dict[str, Callable[[str], float]] = {
    "terse": _terse,
    "terse-gold": _plain,
    "formal": _formal,
    "formal-gold": _learned,
}
"""By name: the logit of how far a text has the style. The gold ones judge held-out answers."""


class MeasureExpert:
    """Rates a style by counting words.

    Attributes:
        name, domain, version: As in `custodes.experts.expert.Expert`.
    """

    def __init__(self, name: str, domain: str | None = None) -> None:
        """Make an Expert.

        Args:
            name: One of `MEASURES`.
            domain: What it stands for; its name without "-gold" by default.

        Raises:
            ConfigError: There is no such measure.
        """
        if name not in MEASURES:
            raise ConfigError(f"no measure is called {name!r}", near_misses(name, MEASURES))
        self.name, self.version = name, f"measure-{name}-1"
        self.domain = domain or name.removesuffix("-gold")

    def logits(self, queries: Sequence[Query], responses: Sequence[str]) -> Array:
        """Measure ``responses[i]``; the queries play no part. Shape (n,), in logits."""
        del queries
        return np.array([MEASURES[self.name](text) for text in responses], np.float32)

    def rate(self, queries: Sequence[Query], responses: Sequence[str]) -> list[Rating]:
        """Rate each response in [0, 1]; it abstains on one without a word."""
        logits = self.logits(queries, responses).astype(np.float64)
        return [
            Rating(round(1 / (1 + math.exp(-value)), 4))
            if _WORD.search(text)
            else Rating(None, "no word")
            for value, text in zip(logits, responses, strict=True)
        ]

    def report(self) -> dict[str, Any]:
        """Return its kind: there are no labels to compare it with."""
        return {"kind": "measure", "measure": self.name, "controls": []}
