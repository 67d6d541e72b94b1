"""Conditions on the prompt under which a behaviour may differ: words, forms, topics, sources."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custodes.diff.features.clusters import k_means, name_clusters
from custodes.diff.features.phrases import phrase_columns
from custodes.diff.features.text import read_corpus
from custodes.models.base import Array

__all__ = ["Conditions", "find_conditions"]

LARGEST = 0.6  # A condition that holds for more of the prompts than this is hardly one.
SMALLEST = 0.02
TOPICS = (5, 12, 30)
LONGEST_PHRASE = 3


@dataclass(frozen=True)
class Conditions:
    """What may be true of a prompt.

    Attributes:
        statements: Each as the end of "the prompt ...".
        hold: Whether it is, shape (prompts, conditions).
    """

    statements: tuple[str, ...]
    hold: NDArray[np.bool_]

    def between(self, low: float, high: float) -> Conditions:
        """Return the conditions whose share of the prompts is in [low, high]."""
        share = self.hold.mean(axis=0) if len(self.hold) else np.zeros(0)
        chosen = np.flatnonzero((share >= low) & (share <= high))
        return Conditions(tuple(self.statements[i] for i in chosen), self.hold[:, chosen])


def find_conditions(
    ids: Sequence[str], prompts: Sequence[str], embedded: Array, seed: int
) -> Conditions:
    """List conditions that hold for a part of the prompts, without looking at any response.

    Args:
        ids: Prompt ids; what precedes a number in them may name their source.
        prompts: The prompts.
        embedded: Their embeddings, shape (prompts, d).
        seed: Of the topics' k-means.
    """
    n = len(prompts)
    statements: list[str] = []
    masks: list[NDArray[np.bool_]] = []

    def add(statement: str, mask: NDArray[np.bool_]) -> None:
        statements.append(statement)
        masks.append(mask)

    words = np.array([len(p.split()) for p in prompts])
    for q in (0.2, 0.35, 0.5):
        add(f"has at most {np.quantile(words, q):.0f} words", words <= np.quantile(words, q))
        add(
            f"has at least {np.quantile(words, 1 - q):.0f} words",
            words >= np.quantile(words, 1 - q),
        )
    for statement, pattern in {
        "ends with a question mark": r"\?\s*$",
        "has no question mark": r"\A[^?]*\Z",
        "has a number": r"\d",
        "has a line break": r"\n",
        "has a quotation": r"[\"“”]",
        "has a colon": r":",
        "starts with a small letter": r"\A\s*[a-z]",
        "has an exclamation mark": r"!",
    }.items():
        find = re.compile(pattern).search
        add(statement, np.array([bool(find(p)) for p in prompts]))
    sources = np.array([re.sub(r"[\d\W_]*\d.*$", "", x) for x in ids])
    names, counts = np.unique(sources, return_counts=True)
    for name, count in zip(names, counts, strict=True):
        if name and count < n:
            add(f"has an id that starts with “{name}”", sources == name)
    _add_topics(prompts, embedded, seed, add)
    phrases = phrase_columns(
        read_corpus(prompts), max(3, int(SMALLEST * n)), longest=LONGEST_PHRASE
    )
    shares = np.diff(phrases.shows.indptr) / max(n, 1)
    for j in np.flatnonzero(shares <= LARGEST):
        mask = np.zeros(n, bool)
        mask[phrases.shows.indices[phrases.shows.indptr[j] : phrases.shows.indptr[j + 1]]] = True
        add(phrases.columns[j].statement, mask)
    hold = np.stack(masks, axis=1) if masks else np.zeros((n, 0), bool)
    _, first = np.unique(hold, axis=1, return_index=True)
    first = np.sort(first)
    distinct = Conditions(tuple(statements[i] for i in first), hold[:, first])
    return distinct.between(SMALLEST, LARGEST)


def _add_topics(prompts: Sequence[str], embedded: Array, seed: int, add: object) -> None:
    assert callable(add)
    corpus = read_corpus(prompts)
    for k in TOPICS:
        if len(prompts) < 10 * k:
            continue
        labels = k_means(embedded, k, seed)
        for label, terms in enumerate(name_clusters(corpus, labels)):
            add(f"is about {', '.join(terms)}", labels == label)
