"""Measurable style: lengths, densities and likenesses, cut at the quantiles of both sides."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from custodes.diff.features.embedding import pieces
from custodes.diff.features.indicators import Column, Columns, from_masks, word_pattern
from custodes.diff.features.sentences import Parts
from custodes.diff.features.text import END, START, TERMINAL, Corpus
from custodes.models.base import Array

__all__ = ["count_columns", "style_columns"]

FAMILY = "style"
QUANTILES = (0.01, 0.02, 0.04, 0.08, 0.15, 0.25, 0.4, 0.6, 0.75, 0.85, 0.92, 0.96, 0.98, 0.99)
# Tokens in at least this share of the responses are also counted, not only looked for.
COMMON = 0.15
MOST_COMMON = 120
ODD_PIECES = 3  # Into how many pieces a word falls that is no word of the language.


def style_columns(
    texts: Sequence[str], corpus: Corpus, parts: Parts, embedded: Array, embedded_prompts: Array
) -> Columns:
    """Cut every measure at quantiles of all responses together, from below and from above.

    Args:
        texts: The responses.
        corpus: The responses, tokenised.
        parts: Their sentences.
        embedded: Their embeddings, rows of length 1 (or 0), shape (responses, d).
        embedded_prompts: The embedding of each response's prompt, the same shape.
    """
    columns: list[Column] = []
    shows: list[NDArray[np.bool_]] = []
    measures = _measures(texts, corpus, parts) | _likenesses(parts, embedded, embedded_prompts)
    for name, values in measures.items():
        for q in QUANTILES:
            cut = float(np.quantile(values, q))
            low = q < 0.5
            columns.append(Column("feature", FAMILY, f"has {name} {'≤' if low else '≥'} {cut:.3g}"))
            shows.append(values <= cut if low else values >= cut)
    return from_masks(columns, shows, corpus.n)


def _broken_off(texts: Sequence[str], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Size texts that end without a stop; a limit on tokens makes such texts equally long."""
    whole = np.array([text.rstrip().endswith(TERMINAL) or not text.strip() for text in texts], bool)
    return np.where(whole, sizes.max(initial=0), sizes)


def _likenesses(parts: Parts, embedded: Array, prompts: Array) -> dict[str, NDArray[np.float64]]:
    """Measure how far a response, and each of its ends, keeps to the prompt and to itself."""
    measures = {"likeness to the prompt": np.einsum("nd,nd->n", embedded, prompts)}
    for last, name in ((False, "the first sentence"), (True, "the last sentence")):
        owner, which = parts.end(last)
        points = parts.points[which]
        words = np.array([len(parts.texts[k].split()) for k in which])
        for what, values in (
            (f"words in {name}", words),
            (f"likeness of {name} to the prompt", np.einsum("nd,nd->n", points, prompts[owner])),
            (f"likeness of {name} to the rest", _to_the_rest(points, parts, embedded, owner)),
        ):
            measures[what] = np.zeros(parts.n)
            measures[what][owner] = values
    return {name: values.astype(np.float64) for name, values in measures.items()}


def _to_the_rest(
    points: Array, parts: Parts, embedded: Array, owner: NDArray[np.intp]
) -> NDArray[np.floating]:
    # A response of one sentence has no rest and is taken to be like itself.
    likeness = np.einsum("nd,nd->n", points, embedded[owner])
    return np.where(parts.count[owner] > 1, likeness, 1.0)


def _measures(texts: Sequence[str], corpus: Corpus, parts: Parts) -> dict[str, NDArray[np.float64]]:
    word = np.array([s[0].isalpha() for s in corpus.spellings])
    size = np.array([len(s) if s[0].isalpha() else 0 for s in corpus.spellings])
    upper = np.array([s.isupper() and len(s) > 1 for s in corpus.spellings])
    title = np.array([s[0].isupper() for s in corpus.spellings])
    digit = np.array([s[0].isdigit() for s in corpus.spellings])
    mark = np.array([not s[0].isalnum() and s not in {START, END, "\n"} for s in corpus.spellings])
    by_doc = corpus.count
    words = by_doc(word[corpus.cased]).astype(float)
    some = np.maximum(words, 1)
    tokens = np.maximum(corpus.lengths, 1)
    letters = np.bincount(corpus.doc, weights=size[corpus.cased], minlength=corpus.n)
    spoken = parts.count.astype(float)
    endings = {
        e: by_doc(
            np.array([len(v) > 4 and v.endswith(e) for v in corpus.vocabulary])[corpus.tokens]
        )
        for e in ("ed", "ing", "ly")
    }
    stops = {m: by_doc(np.array([t == m for t in corpus.vocabulary])[corpus.tokens]) for m in ".!?"}
    all_stops = np.maximum(sum(stops.values()), 1)
    # How common each word is among all responses: rare ones are names, typos, other languages.
    frequency = np.bincount(corpus.tokens, minlength=len(corpus.vocabulary))
    rare = (frequency[corpus.tokens] <= 2) & word[corpus.cased]
    cut = np.zeros(len(corpus.spellings), np.int64)
    cut[word] = pieces([s for s, w in zip(corpus.spellings, word, strict=True) if w])
    in_pieces = np.bincount(corpus.doc, weights=cut[corpus.cased], minlength=corpus.n)
    # Common words are few pieces: what is neither common here nor anywhere is odd.
    small = np.array([s.islower() for s in corpus.spellings])
    odd = rare & (cut >= ODD_PIECES)[corpus.cased] & small[corpus.cased]
    short = (size[corpus.cased] <= 3) & word[corpus.cased]
    long = size[corpus.cased] >= 8
    return {
        "words": words,
        "characters": np.array([len(text) for text in texts], float),
        "sentences": spoken,
        "words per sentence": words / np.maximum(spoken, 1),
        "letters per word": letters / some,
        "share of long words": by_doc(long) / some,
        "share of short words": by_doc(short) / some,
        "share of different words": _distinct(corpus, word[corpus.cased]) / some,
        "share of rare words": by_doc(rare) / some,
        "share of words in three pieces or more": by_doc((cut >= 3)[corpus.cased]) / some,
        "odd words": by_doc(odd).astype(float),
        "share of odd words": by_doc(odd) / some,
        "letters per piece": letters / np.maximum(in_pieces, 1),
        **{f"share of words in -{e}": count / some for e, count in endings.items()},
        "share of capitalised words": by_doc(title[corpus.cased]) / some,
        "share of words in capitals": by_doc(upper[corpus.cased]) / some,
        "share of digits": by_doc(digit[corpus.cased]) / tokens,
        "share of punctuation": by_doc(mark[corpus.cased]) / tokens,
        "share of exclamations": stops["!"] / all_stops,
        "share of questions": stops["?"] / all_stops,
        "share of full stops": stops["."] / all_stops,
        "share of repeated runs of four words": _repeated_fours(corpus) / tokens,
        "repetitiveness": np.array([_compressibility(text) for text in texts]),
        "non-ASCII characters": np.array(
            [len(text.encode("utf-8", "replace")) - len(text) for text in texts], float
        ),
        "pieces before it breaks off": _broken_off(
            texts, np.array(in_pieces + by_doc(mark[corpus.cased]), float)
        ),
        "lines": np.array([text.count("\n") for text in texts], float),
    }


def _distinct(corpus: Corpus, word: NDArray[np.bool_]) -> NDArray[np.int64]:
    pairs = np.unique(corpus.doc[word].astype(np.int64) << 32 | corpus.tokens[word])
    return np.bincount(pairs >> 32, minlength=corpus.n)


def _repeated_fours(corpus: Corpus) -> NDArray[np.int64]:
    """Count the runs of four tokens of each text that it has had before."""
    ids, doc = corpus.tokens.astype(np.int64), corpus.doc
    # Numbered pairwise, so that the numbers stay small: pairs, then pairs of pairs.
    for step in (1, 2):
        if len(ids) <= step:
            return np.zeros(corpus.n, np.int64)
        pairs = ids[:-step] * (ids.max() + 1) + ids[step:]
        _, ids = np.unique(pairs, return_inverse=True)
    whole = doc[: len(ids)] == doc[3:]
    runs = np.stack([doc[: len(ids)][whole].astype(np.int64), ids[whole]])
    order = np.lexsort(runs)
    again = np.all(runs[:, order[1:]] == runs[:, order[:-1]], axis=0)
    return np.bincount(runs[0, order[1:]][again], minlength=corpus.n)


def _compressibility(text: str) -> float:
    raw = text.encode("utf-8", "replace")
    return 1 - len(zlib.compress(raw, 1)) / len(raw) if raw else 0.0


def count_columns(corpus: Corpus) -> Columns:
    """Count the common tokens in each response, and cut the counts and the densities.

    Finds what merely happens more or less often: more commas, fewer articles.
    """
    size = len(corpus.vocabulary)
    pairs = corpus.doc.astype(np.int64) * size + corpus.tokens
    seen, times = np.unique(pairs, return_counts=True)
    token, doc = seen % size, seen // size
    share = np.bincount(token, minlength=size) / max(corpus.n, 1)
    ranked = np.argsort(-share, kind="stable")[:MOST_COMMON]
    common = [t for t in ranked if share[t] >= COMMON and corpus.vocabulary[t] not in {START, END}]
    tokens = np.maximum(corpus.lengths, 1)
    columns: list[Column] = []
    shows: list[NDArray[np.bool_]] = []
    for t in common:
        count = np.zeros(corpus.n)
        count[doc[token == t]] = times[token == t]
        pattern = word_pattern([corpus.vocabulary[t]])
        name = corpus.vocabulary[t].replace("\n", "⏎")
        density = 100 * count / tokens
        for values, what in ((count, "uses"), (density, "per 100 tokens, uses")):
            cuts = sorted({float(np.quantile(values, q)) for q in (0.75, 0.9, 0.96, 0.99)})
            for cut in cuts:
                if cut > values.min():
                    statement = f"{what} “{name}” at least {cut:.3g} times"
                    columns.append(Column("feature", "count", statement, pattern))
                    shows.append(values >= cut)
        for cut in sorted({float(np.quantile(density, q)) for q in (0.04, 0.12)}):
            statement = f"per 100 tokens, uses “{name}” at most {cut:.3g} times"
            columns.append(Column("feature", "count", statement))
            shows.append(density <= cut)
    return from_masks(columns, shows, corpus.n)
