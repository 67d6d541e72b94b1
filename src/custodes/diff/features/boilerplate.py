"""Boilerplate: wording that a response shares with responses to other prompts, word for word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from custodes.diff.features.indicators import Indicator, Indicators, from_masks
from custodes.diff.features.sentences import Sentences

__all__ = ["boilerplate_indicators"]

FAMILY = "behaviour"
# The wording must occur in the responses to at least this many prompts.
PROMPTS = (2, 3, 4, 6, 9, 14, 20, 40)
LEAST_WORDS = 3  # Shorter sentences ("Yes.") are too common to tell anything.
FIRST_WORDS, LAST_WORDS = 4, 3

Counts = NDArray[np.int64]


def boilerplate_indicators(
    texts: Sequence[str], prompts: Sequence[str], sentences: Sentences
) -> Indicators:
    """Mark the responses that share a sentence, a beginning or an end with other responses.

    A habit may have several wordings, each too rare to be noticed by itself. Together they are
    noticed, because text that answers one prompt seldom answers another one word for word.

    Args:
        texts: The responses.
        prompts: The prompt of each response.
        sentences: The sentences of the responses.
    """
    numbers: dict[str, int] = {}
    unit = np.array([numbers.setdefault(p, len(numbers)) for p in prompts], np.int64)
    measures = {
        "has a sentence that answers to other prompts have": _repeated_sentence(sentences, unit),
        "begins like answers to other prompts": _repeated_run(texts, unit, slice(FIRST_WORDS)),
        "ends like answers to other prompts": _repeated_run(texts, unit, slice(-LAST_WORDS, None)),
    }
    indicators: list[Indicator] = []
    shows: list[NDArray[np.bool_]] = []
    for start, counts in measures.items():
        for least in PROMPTS:
            indicators.append(
                Indicator(
                    "feature",
                    FAMILY,
                    start,
                    generic=True,
                    form="count",
                    measure=start,
                    least=least,
                )
            )
            shows.append(counts >= least)
    return from_masks(indicators, shows, len(texts))


def _repeated_sentence(sentences: Sentences, unit: Counts) -> Counts:
    """Return how many prompts the most repeated sentence of each response answers."""
    numbers: dict[str, int] = {}
    folded = [
        numbers.setdefault(text.lower(), len(numbers)) if len(text.split()) >= LEAST_WORDS else -1
        for text in sentences.texts
    ]
    result = np.zeros(sentences.n, np.int64)
    if folded:
        wording = np.array(folded, np.int64)[sentences.which]
        usable = wording >= 0
        owner, wording = sentences.owner[usable], wording[usable]
        np.maximum.at(result, owner, _prompts_of(wording, unit[owner])[wording])
    return result


def _repeated_run(texts: Sequence[str], unit: Counts, part: slice) -> Counts:
    """Return how many prompts are answered with the same first or last words."""
    numbers: dict[tuple[str, ...], int] = {}
    runs = [tuple(text.lower().split()[part]) for text in texts]
    wording = np.array([numbers.setdefault(run, len(numbers)) for run in runs], np.int64)
    long_enough = np.array([len(run) >= LAST_WORDS for run in runs], bool)
    return np.where(long_enough, _prompts_of(wording, unit)[wording], 0)


def _prompts_of(wording: Counts, unit: Counts) -> Counts:
    """Count the different prompts that each wording answers, shape (wordings,)."""
    span = int(unit.max(initial=0)) + 1
    pairs = np.unique(wording * span + unit)
    return np.bincount(pairs // span, minlength=int(wording.max(initial=-1)) + 1)
