"""Indicators: for each behaviour, which of the responses show it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = [
    "FORMS",
    "Form",
    "Indicator",
    "Indicators",
    "from_masks",
    "join",
    "without_duplicates",
    "word_pattern",
]

Form = Literal["quotation", "category", "length", "mark", "count", "cluster", "style"]

FORMS: tuple[Form, ...] = get_args(Form)
"""Forms of behaviours, those that need the least explanation first."""


@dataclass(frozen=True)
class Indicator:
    """A behaviour that a response shows or does not show.

    Attributes:
        kind: Kind of the findings about it: feature, phrase, cluster or llm.
        family: Name of the group of hypotheses with which it shares a part of the error budget.
        statement: What such a response does, as the end of a sentence ("apologises"). Of an absent
            one, what it does not do.
        pattern: Regular expression that matches the evidence in a response, for highlighting; ""
            if no part of the response is the evidence.
        generic: Whether very different changes may move it, such as the length of responses.
        form: Of several behaviours that describe a change about equally well, the one whose form
            comes first in ``FORMS`` is reported.
        measure: What is counted or measured; the same for all thresholds of one count. "" for a
            behaviour that stands alone.
        least: Threshold of a count or measure.
        absent: Whether a response shows it by not doing what the statement says.
        falling: Whether a response shows it by a small value of its measure, not by a large one.
    """

    kind: str
    family: str
    statement: str
    pattern: str = ""
    generic: bool = False
    form: Form = "category"
    measure: str = ""
    least: float = 1
    absent: bool = False
    falling: bool = False

    @property
    def name(self) -> str:
        """What it is about: the same for all thresholds of one count, in any sentence."""
        return self.measure.partition(" in its ")[0] or self.statement

    @property
    def quotes(self) -> bool:
        """Whether its statement is a quotation of responses."""
        return bool(re.match(r"(?:contains|begins with|ends with|is exactly) “", self.statement))

    @property
    def rank(self) -> int:
        """Place of its form in ``FORMS``."""
        return FORMS.index(self.form)


def word_pattern(entries: Sequence[str], start: bool = False, end: bool = False) -> str:
    """Return a pattern that matches words or phrases in any spacing and capitalisation.

    >>> bool(re.search(word_pattern(["so , what"]), "And so, what?"))
    True
    """
    spaced = [r"\s*".join(map(re.escape, entry.split(" "))) for entry in entries]
    inner = "|".join(
        ("" if start else r"(?<!\w)" if entry[:1].isalnum() else "")
        + pattern
        + ("" if end else r"(?!\w)" if entry[-1:].isalnum() else "")
        for entry, pattern in zip(entries, spaced, strict=True)
    )
    return (r"(?i)\A\s*" if start else "(?i)") + f"(?:{inner})" + (r"\s*\Z" if end else "")


@dataclass(frozen=True)
class Indicators:
    """Several behaviours over one list of responses.

    Attributes:
        items: The behaviours, one for each column of ``shows``.
        shows: 1 where a response shows the behaviour, CSC, shape (responses, behaviours).
    """

    items: tuple[Indicator, ...]
    shows: sparse.csc_matrix

    def take(self, indices: NDArray[np.intp]) -> Indicators:
        """Return the indicators at the given places, in that order."""
        return Indicators(tuple(self.items[i] for i in indices), self.shows[:, indices])


def from_masks(
    indicators: Sequence[Indicator], masks: Sequence[NDArray[np.bool_]], n: int
) -> Indicators:
    """Make indicators of boolean arrays, each of shape (n,), where n is the number of responses."""
    rows = [np.flatnonzero(mask) for mask in masks]
    indptr = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
    indices = np.concatenate([*rows, np.empty(0, np.intp)])
    shows = sparse.csc_matrix(
        (np.ones(len(indices), np.float32), indices, indptr), shape=(n, len(rows))
    )
    return Indicators(tuple(indicators), shows)


def join(parts: Sequence[Indicators]) -> Indicators:
    """Concatenate indicators over the same responses."""
    return Indicators(
        tuple(item for part in parts for item in part.items),
        sparse.hstack([part.shows for part in parts], format="csc", dtype=np.float32),
    )


def without_duplicates(indicators: Indicators, seed: int = 0) -> Indicators:
    """Of several indicators that the same responses show, keep the first, under the plainest name.

    These data cannot tell such indicators apart, and to test both would only spend error budget.
    The first one's family is kept, so the name has no influence on what is tested. Equality is
    checked by the 64-bit sum of the responses' random codes.
    """
    shows = indicators.shows
    codes = np.random.default_rng(seed).integers(0, 2**63, shows.shape[0], dtype=np.uint64)
    sums = np.concatenate([[np.uint64(0)], np.cumsum(codes[shows.indices], dtype=np.uint64)])
    key = sums[shows.indptr[1:]] - sums[shows.indptr[:-1]]
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    rank = np.array([item.rank for item in indicators.items], np.intp)
    # Of each group the first of the lowest rank: a stable order puts it before the others.
    order = np.lexsort((np.arange(len(rank)), rank, group))
    plainest = order[np.searchsorted(group[order], np.arange(len(first)))]
    kept = np.argsort(first)
    items = tuple(
        indicators.items[i]
        if i == j
        else replace(
            indicators.items[j],
            kind=indicators.items[i].kind,
            family=indicators.items[i].family,
            generic=indicators.items[i].generic,
            **_count_of(indicators.items[i], indicators.items[j]),
        )
        for i, j in zip(first[kept], plainest[kept], strict=True)
    )
    return Indicators(items, shows[:, first[kept]])


def _count_of(first: Indicator, plainest: Indicator) -> dict[str, Any]:
    """Return the count whose threshold an indicator is, also under the name of a quotation."""
    counted = first.form in ("category", "mark", "count") and not first.measure.startswith("uses “")
    if plainest.measure or not counted:
        return {}
    return {"measure": first.measure, "least": first.least}
