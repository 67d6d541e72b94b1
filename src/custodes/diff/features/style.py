"""Measures of style: lengths, shares and similarities, cut at quantiles of all responses."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from custodes.diff.features.embedding import pieces
from custodes.diff.features.indicators import Indicator, Indicators, from_masks, word_pattern
from custodes.diff.features.sentences import Sentences
from custodes.diff.features.text import END, START, TERMINAL, Corpus
from custodes.models.base import Array

__all__ = ["MEASURES", "Measurements", "count_indicators", "style_indicators", "style_values"]

FAMILY = "style"
QUANTILES = (0.01, 0.02, 0.04, 0.08, 0.15, 0.25, 0.4, 0.6, 0.75, 0.85, 0.92, 0.96, 0.98, 0.99)
# Tokens in at least this share of the responses are also counted, not only looked for.
COMMON = 0.15
MOST_COMMON = 120
ODD_PIECES = 3  # A word of at least so many subword tokens is probably no word of the language.
LONG_WORD, SHORT_WORD = 8, 3  # Letters.
LENGTHS = ("words", "characters")
RARE = 2  # A rare word occurs at most so often in all responses together.

Floats = NDArray[np.float64]


def style_values(
    texts: Sequence[str],
    corpus: Corpus,
    sentences: Sentences,
    embedded: Array,
    embedded_prompts: Array,
) -> dict[str, Floats]:
    """Measure the style of every response.

    Args:
        texts: The responses.
        corpus: The responses, tokenised.
        sentences: The sentences of the responses.
        embedded: Embeddings of the responses, rows of length 1 (or 0), shape (responses, d).
        embedded_prompts: The embedding of each response's prompt, the same shape.

    Returns:
        The values of each measure by its name, shape (responses,).
    """
    measurements = Measurements(texts, corpus, sentences)
    measures = {name: np.asarray(of(measurements), float) for name, of in MEASURES.items()}
    return measures | _similarities(sentences, embedded, embedded_prompts)


def style_indicators(measures: Mapping[str, Floats], n: int) -> Indicators:
    """Cut every measure at quantiles of all responses together, from below and from above.

    Args:
        measures: What `style_values` returned.
        n: Number of responses.
    """
    indicators: list[Indicator] = []
    shows: list[NDArray[np.bool_]] = []
    for name, values in measures.items():
        for q in QUANTILES:
            cut = float(np.quantile(values, q))
            low = q < 0.5
            statement = f"has {name} {'≤' if low else '≥'} {cut:.3g}"
            indicators.append(
                Indicator(
                    "feature",
                    FAMILY,
                    statement,
                    generic=True,
                    form="length" if name in LENGTHS else "style",
                    measure=name,
                    least=cut,
                    falling=low,
                )
            )
            shows.append(values <= cut if low else values >= cut)
    return from_masks(indicators, shows, n)


@dataclass(frozen=True)
class Measurements:
    """What the measures of `MEASURES` are computed from; counts have shape (responses,).

    Attributes:
        texts: The responses.
        corpus: The responses, tokenised.
        sentences: The sentences of the responses.
    """

    texts: Sequence[str]
    corpus: Corpus
    sentences: Sentences

    def _spellings(self, test: Callable[[str], bool]) -> NDArray[np.bool_]:
        """Mark the tokens whose spelling passes a test, shape (tokens,)."""
        return np.array([test(s) for s in self.corpus.spellings], bool)[self.corpus.cased]

    def count(self, test: Callable[[str], bool]) -> Floats:
        """Count the tokens of each response whose spelling passes a test."""
        return self.corpus.count(self._spellings(test)).astype(float)

    def folded(self, test: Callable[[str], bool]) -> Floats:
        """Count the tokens of each response that pass a test in lower case."""
        passing = np.array([test(v) for v in self.corpus.vocabulary], bool)
        return self.corpus.count(passing[self.corpus.tokens]).astype(float)

    def _sum(self, of_spelling: NDArray[np.int64]) -> Floats:
        values = np.bincount(
            self.corpus.doc, weights=of_spelling[self.corpus.cased], minlength=self.corpus.n
        )
        return np.asarray(values, np.float64)

    @cached_property
    def word(self) -> NDArray[np.bool_]:
        """Which tokens are words, shape (tokens,)."""
        return self._spellings(lambda s: s[0].isalpha())

    @cached_property
    def words(self) -> Floats:
        """Number of words."""
        return self.corpus.count(self.word).astype(float)

    @cached_property
    def per_word(self) -> Floats:
        """Number of words, at least 1, to divide by."""
        return np.maximum(self.words, 1)

    @cached_property
    def per_token(self) -> Floats:
        """Number of tokens, at least 1, to divide by."""
        return np.maximum(self.corpus.lengths, 1).astype(float)

    @cached_property
    def per_stop(self) -> Floats:
        """Number of full stops, exclamation and question marks, at least 1, to divide by."""
        return np.maximum(self.folded(lambda t: t in (".", "!", "?")), 1)

    @cached_property
    def sentence_counts(self) -> Floats:
        """Number of sentences."""
        return self.sentences.count.astype(float)

    @cached_property
    def letters(self) -> Floats:
        """Number of letters in words."""
        return self._sum(np.array([len(s) if s[0].isalpha() else 0 for s in self.corpus.spellings]))

    @cached_property
    def marks(self) -> Floats:
        """Number of punctuation marks."""
        return self.count(lambda s: not s[0].isalnum() and s not in {START, END, "\n"})

    @cached_property
    def _pieces(self) -> NDArray[np.int64]:
        """Subword tokens of each spelling, 0 where it is no word."""
        spellings = self.corpus.spellings
        word = np.array([s[0].isalpha() for s in spellings])
        out = np.zeros(len(spellings), np.int64)
        out[word] = pieces([s for s, w in zip(spellings, word, strict=True) if w])
        return out

    @cached_property
    def subwords(self) -> Floats:
        """Number of subword tokens in words."""
        return self._sum(self._pieces)

    @cached_property
    def _rare(self) -> NDArray[np.bool_]:
        """Which tokens are words that hardly occur: names, typos, other languages."""
        frequency = np.bincount(self.corpus.tokens, minlength=len(self.corpus.vocabulary))
        return (frequency[self.corpus.tokens] <= RARE) & self.word

    @cached_property
    def rare(self) -> Floats:
        """Number of rare words."""
        return self.corpus.count(self._rare).astype(float)

    @cached_property
    def in_pieces(self) -> Floats:
        """Number of words of three subword tokens or more."""
        return self.corpus.count((self._pieces >= ODD_PIECES)[self.corpus.cased]).astype(float)

    @cached_property
    def odd(self) -> Floats:
        """Number of odd words: common neither here nor in English text, and no names."""
        odd = self._rare & (self._pieces >= ODD_PIECES)[self.corpus.cased]
        return self.corpus.count(odd & self._spellings(str.islower)).astype(float)

    @cached_property
    def distinct(self) -> Floats:
        """Number of different words."""
        doc, tokens = self.corpus.doc[self.word], self.corpus.tokens[self.word]
        pairs = np.unique(doc.astype(np.int64) << 32 | tokens)
        return np.bincount(pairs >> 32, minlength=self.corpus.n).astype(float)


def _compressibility(text: str) -> float:
    raw = _utf8(text)
    return 1 - len(zlib.compress(raw, 1)) / len(raw) if raw else 0.0


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _ending(suffix: str) -> Callable[[Measurements], Floats]:
    return lambda m: m.folded(lambda v: len(v) > 4 and v.endswith(suffix)) / m.per_word


def _stop(mark: str) -> Callable[[Measurements], Floats]:
    return lambda m: m.folded(lambda t: t == mark) / m.per_stop


def _of_text(measure: Callable[[str], float]) -> Callable[[Measurements], Floats]:
    return lambda m: np.array([measure(text) for text in m.texts], float)


MEASURES: Mapping[str, Callable[[Measurements], Floats]] = {
    "words": lambda m: m.words,
    "characters": _of_text(len),
    "sentences": lambda m: m.sentence_counts,
    "words per sentence": lambda m: m.words / np.maximum(m.sentence_counts, 1),
    "letters per word": lambda m: m.letters / m.per_word,
    "share of long words": lambda m: (
        m.count(lambda s: s[0].isalpha() and len(s) >= LONG_WORD) / m.per_word
    ),
    "share of short words": lambda m: (
        m.count(lambda s: s[0].isalpha() and len(s) <= SHORT_WORD) / m.per_word
    ),
    "share of different words": lambda m: m.distinct / m.per_word,
    "share of rare words": lambda m: m.rare / m.per_word,
    "share of words in three pieces or more": lambda m: m.in_pieces / m.per_word,
    "odd words": lambda m: m.odd,
    "share of odd words": lambda m: m.odd / m.per_word,
    "letters per piece": lambda m: m.letters / np.maximum(m.subwords, 1),
    "share of words in -ed": _ending("ed"),
    "share of words in -ing": _ending("ing"),
    "share of words in -ly": _ending("ly"),
    "share of capitalised words": lambda m: m.count(lambda s: s[0].isupper()) / m.per_word,
    "share of words in capitals": lambda m: (
        m.count(lambda s: s.isupper() and len(s) > 1) / m.per_word
    ),
    "share of digits": lambda m: m.count(lambda s: s[0].isdigit()) / m.per_token,
    "share of punctuation": lambda m: m.marks / m.per_token,
    "share of exclamations": _stop("!"),
    "share of questions": _stop("?"),
    "share of full stops": _stop("."),
    "share of repeated runs of four words": lambda m: _repeated_fours(m.corpus) / m.per_token,
    "repetitiveness": _of_text(_compressibility),
    "non-ASCII characters": _of_text(lambda text: len(_utf8(text)) - len(text)),
    "pieces before it breaks off": lambda m: _cut_off_length(m.texts, m.subwords + m.marks),
    "lines": _of_text(lambda text: text.count("\n")),
}
"""Measures of style by name; each gives one value a response."""


def _cut_off_length(texts: Sequence[str], lengths: Floats) -> Floats:
    """Return the lengths of texts that end without an end mark, and the maximum for the others.

    A limit on tokens cuts texts off at the same length.
    """
    whole = np.array([text.rstrip().endswith(TERMINAL) or not text.strip() for text in texts], bool)
    return np.where(whole, lengths.max(initial=0), lengths)


def _similarities(sentences: Sentences, embedded: Array, prompts: Array) -> dict[str, Floats]:
    """Measure how similar a response and its two ends are to the prompt and to the rest."""
    measures = {"cosine similarity to the prompt": np.einsum("nd,nd->n", embedded, prompts)}
    for last, name in ((False, "the first sentence"), (True, "the last sentence")):
        owner, which = sentences.end(last)
        points = sentences.points[which]
        words = np.array([len(sentences.texts[k].split()) for k in which])
        to_prompt = np.einsum("nd,nd->n", points, prompts[owner])
        # A response of one sentence has no rest; it is taken to be similar to itself.
        to_rest = np.einsum("nd,nd->n", points, embedded[owner])
        to_rest = np.where(sentences.count[owner] > 1, to_rest, 1.0)
        for measure, values in (
            (f"words in {name}", words),
            (f"cosine similarity of {name} to the prompt", to_prompt),
            (f"cosine similarity of {name} to the rest", to_rest),
        ):
            measures[measure] = np.zeros(sentences.n)
            measures[measure][owner] = values
    return {name: values.astype(np.float64) for name, values in measures.items()}


def _repeated_fours(corpus: Corpus) -> NDArray[np.int64]:
    """Count the runs of four tokens that occurred before in the same text."""
    ids, doc = corpus.tokens.astype(np.int64), corpus.doc
    # Numbers stay small if pairs are numbered first, then pairs of pairs.
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


def count_indicators(corpus: Corpus) -> Indicators:
    """Count the common tokens in each response, and cut the counts and densities at quantiles.

    This finds what only becomes more or less frequent, such as commas or articles.
    """
    size = len(corpus.vocabulary)
    pairs = corpus.doc.astype(np.int64) * size + corpus.tokens
    pairs, times = np.unique(pairs, return_counts=True)
    token, doc = pairs % size, pairs // size
    share = np.bincount(token, minlength=size) / max(corpus.n, 1)
    ranked = np.argsort(-share, kind="stable")[:MOST_COMMON]
    common = [t for t in ranked if share[t] >= COMMON and corpus.vocabulary[t] not in {START, END}]
    tokens = np.maximum(corpus.lengths, 1)
    indicators: list[Indicator] = []
    shows: list[NDArray[np.bool_]] = []
    for t in common:
        count = np.zeros(corpus.n)
        count[doc[token == t]] = times[token == t]
        pattern = word_pattern([corpus.vocabulary[t]])
        name = corpus.vocabulary[t].replace("\n", "⏎")
        density = 100 * count / tokens
        for values, verb in ((count, "uses"), (density, "per 100 tokens, uses")):
            cuts = sorted({float(np.quantile(values, q)) for q in (0.75, 0.9, 0.96, 0.99)})
            for cut in cuts:
                if cut > values.min():
                    statement = f"{verb} “{name}” at least {cut:.3g} times"
                    indicators.append(
                        Indicator(
                            "feature",
                            "count",
                            statement,
                            pattern,
                            form="count",
                            measure=f"uses “{name}”",
                            least=cut,
                        )
                    )
                    shows.append(values >= cut)
        for cut in sorted({float(np.quantile(density, q)) for q in (0.04, 0.12)}):
            statement = f"per 100 tokens, uses “{name}” at most {cut:.3g} times"
            indicators.append(
                Indicator(
                    "feature",
                    "count",
                    statement,
                    form="count",
                    measure=f"uses “{name}”",
                    least=cut,
                    falling=True,
                )
            )
            shows.append(density <= cut)
    return from_masks(indicators, shows, corpus.n)
