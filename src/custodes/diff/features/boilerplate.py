"""Stock wording: what a response has word for word in common with answers to other prompts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from custodes.diff.features.indicators import Column, Columns, from_masks
from custodes.diff.features.sentences import Parts

__all__ = ["stock_columns"]

FAMILY = "behaviour"
# Prompts, in the answers to which the wording must be found.
PROMPTS = (2, 3, 4, 6, 9, 14, 20, 40)
LEAST_WORDS = 3  # Shorter sentences ("Yes.") are no wording of anybody's.
FIRST_WORDS, LAST_WORDS = 4, 3

Counts = NDArray[np.int64]


def stock_columns(texts: Sequence[str], prompts: Sequence[str], parts: Parts) -> Columns:
    """Say which responses use a sentence, a beginning or an end that others use, too.

    A habit that has several wordings, each too rare to be noticed, shows in that all of them are
    repeated: what answers a prompt is seldom said word for word to another one.

    Args:
        texts: The responses.
        prompts: The prompt of each response.
        parts: Their sentences.
    """
    number: dict[str, int] = {}
    unit = np.array([number.setdefault(p, len(number)) for p in prompts], np.int64)
    measures = {
        "says a sentence": _stock_sentence(parts, unit),
        f"starts with {FIRST_WORDS} words": _stock_run(texts, unit, slice(FIRST_WORDS)),
        f"ends with {LAST_WORDS} words": _stock_run(texts, unit, slice(-LAST_WORDS, None)),
    }
    columns: list[Column] = []
    shows: list[NDArray[np.bool_]] = []
    for start, counts in measures.items():
        for least in PROMPTS:
            statement = f"{start} that answers to {least} prompts or more have word for word"
            columns.append(Column("feature", FAMILY, statement))
            shows.append(counts >= least)
    return from_masks(columns, shows, len(texts))


def _stock_sentence(parts: Parts, unit: Counts) -> Counts:
    """Return the prompts that the most repeated sentence of each response answers."""
    said: dict[str, int] = {}
    folded = [
        said.setdefault(text.lower(), len(said)) if len(text.split()) >= LEAST_WORDS else -1
        for text in parts.texts
    ]
    result = np.zeros(parts.n, np.int64)
    if folded:
        wording = np.array(folded, np.int64)[parts.which]
        usable = wording >= 0
        owner, wording = parts.owner[usable], wording[usable]
        np.maximum.at(result, owner, _prompts_of(wording, unit[owner])[wording])
    return result


def _stock_run(texts: Sequence[str], unit: Counts, part: slice) -> Counts:
    """Return the prompts that are answered with the same first or last words."""
    said: dict[tuple[str, ...], int] = {}
    runs = [tuple(text.lower().split()[part]) for text in texts]
    wording = np.array([said.setdefault(run, len(said)) for run in runs], np.int64)
    long_enough = np.array([len(run) >= LAST_WORDS for run in runs], bool)
    return np.where(long_enough, _prompts_of(wording, unit)[wording], 0)


def _prompts_of(wording: Counts, unit: Counts) -> Counts:
    """Count the different prompts that each wording answers, shape (wordings,)."""
    span = int(unit.max(initial=0)) + 1
    pairs = np.unique(wording * span + unit)
    return np.bincount(pairs // span, minlength=int(wording.max(initial=-1)) + 1)
