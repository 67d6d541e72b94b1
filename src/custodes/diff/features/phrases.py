"""Words and phrases: every run of tokens that enough responses contain."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from custodes.diff.features.indicators import Indicator, Indicators, word_pattern
from custodes.diff.features.text import END, NEWLINE, START, Corpus

__all__ = ["phrase_indicators"]

LONGEST = 8

FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an the this that these those some any all each every no not and or but so if as than "
        "then of to in on at by for from with about into over it its is are was were be been being "
        "am do does did have has had can could will would may might must should there here he she "
        "his her him they them their which who what when where how also more most such other one "
        "up out s t",
    )
)
"""Words that hardly say what a response is like."""


def phrase_indicators(corpus: Corpus, least: int, longest: int = LONGEST) -> Indicators:
    """Find the phrases of 1 to ``longest`` tokens that at least ``least`` texts contain.

    A phrase grows only where both of its shorter ends are frequent enough (the a-priori rule:
    Agrawal & Srikant 1994), so long phrases cost little. The beginning and the end of a text
    count as tokens: "starts with ..." and "ends with ..." are phrases too. Longer phrases come
    first, so that of phrases in the same texts `without_duplicates` keeps the longest.
    """
    size = len(corpus.vocabulary)
    # 1. Ids of the frequent phrase that begins at each position, -1 where there is none.
    positions = np.arange(len(corpus.tokens))
    keys = corpus.tokens.astype(np.int64)
    ids, heads = _frequent(keys, positions, corpus.doc, least)
    positions, ids = positions[ids >= 0], ids[ids >= 0]
    levels = []
    for length in range(1, longest + 1):
        levels.append((length, *_incidence(ids, positions, heads, corpus.doc)))
        # 2. A phrase of length + 1 at i needs frequent phrases of this length at i and i + 1.
        at = np.full(len(corpus.tokens) + 1, -1, np.int64)
        at[positions] = ids
        grows = (
            (at[positions + 1] >= 0)
            & (positions + length < len(corpus.doc))
            & (
                corpus.doc[np.minimum(positions + length, len(corpus.doc) - 1)]
                == corpus.doc[positions]
            )
        )
        positions = positions[grows]
        if not len(positions):
            break
        keys = at[positions] * size + corpus.tokens[positions + length]
        ids, heads = _frequent(keys, positions, corpus.doc, least)
        kept = ids >= 0
        positions, ids = positions[kept], ids[kept]
        if not len(positions):
            break
    return _longest_only(corpus, levels)


def _frequent(
    keys: NDArray[np.int64], positions: NDArray[np.int64], doc: NDArray[np.int32], least: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the keys that at least ``least`` texts hold; -1 for the others.

    Returns:
        The id at each position, and one position where each id occurs.
    """
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    count = len(first)
    # Positions ascend, so within a key the texts ascend too after a stable sort.
    order = np.argsort(inverse, kind="stable")
    key, text = inverse[order], doc[positions[order]]
    new = np.ones(len(key), bool)
    new[1:] = (key[1:] != key[:-1]) | (text[1:] != text[:-1])
    enough = np.bincount(key[new], minlength=count) >= least
    number = np.where(enough, np.cumsum(enough) - 1, -1)
    return number[inverse], positions[first[enough]]


def _incidence(
    ids: NDArray[np.int64],
    positions: NDArray[np.int64],
    heads: NDArray[np.int64],
    doc: NDArray[np.int32],
) -> tuple[NDArray[np.int64], sparse.csc_matrix]:
    frequent = ids >= 0
    shape = (int(doc[-1]) + 1 if len(doc) else 0, len(heads))
    counts = sparse.csc_matrix(
        (np.ones(int(frequent.sum()), np.float32), (doc[positions[frequent]], ids[frequent])),
        shape=shape,
    )
    counts.sum_duplicates()
    counts.data[:] = 1.0
    return heads, counts


def _longest_only(
    corpus: Corpus, levels: list[tuple[int, NDArray[np.int64], sparse.csc_matrix]]
) -> Indicators:
    indicators: list[Indicator] = []
    matrices = []
    for length, heads, shows in reversed(levels):
        matrices.append(shows)
        indicators += [_indicator(corpus, int(head), length) for head in heads]
    shows = sparse.hstack(matrices, format="csc", dtype=np.float32)
    return Indicators(tuple(indicators), shows)


def _indicator(corpus: Corpus, head: int, length: int) -> Indicator:
    tokens = [corpus.vocabulary[t] for t in corpus.tokens[head : head + length]]
    inner = [t for t in tokens if t not in {START, END}]
    text = "".join(_spaced(inner))
    shown = text.replace(NEWLINE, "⏎")
    verb = {
        (False, False): "contains",
        (True, False): "begins with",
        (False, True): "ends with",
        (True, True): "is exactly",
    }[tokens[0] == START, tokens[-1] == END]
    family = "word" if length == 1 else "phrase" if length <= 3 else "long phrase"
    pattern = word_pattern([" ".join(inner)], tokens[0] == START, tokens[-1] == END)
    # “the”, or a comma, says little by itself.
    telling = any(t not in FUNCTION_WORDS and (t.isalpha() or not t.isascii()) for t in inner)
    return Indicator(
        "phrase",
        family,
        f"{verb} “{shown}”",
        pattern if inner else "",
        form="quotation" if telling else "mark",
    )


def _spaced(tokens: list[str]) -> list[str]:
    out: list[str] = []
    for previous, token in zip(["", *tokens], tokens, strict=False):
        tight = not previous or token in ".,!?;:)]}'%…\n" or previous in "([{\n#"
        out += [token] if tight else [" ", token]
    return out
