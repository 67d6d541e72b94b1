"""Behaviours that the text itself shows: word lists, layout, checks of the whole response."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from custodes.diff.features.indicators import Form, Indicator, Indicators, from_masks, word_pattern
from custodes.diff.features.lexicons import LANGUAGES, LEXICONS
from custodes.diff.features.sentences import Sentences
from custodes.diff.features.text import TERMINAL, Corpus, read_corpus, split_sentences, tokenize

__all__ = ["at_least", "language_of", "lexical_indicators", "sentence_end_indicators"]

FAMILY = "behaviour"
COUNTS = (1, 2, 3, 5)
SHORT = 20  # Words of a short sentence.
TAIL = 4  # So many words at the end must have occurred before to count as repeated.

# Layout and marks, as patterns; a response shows one of them n times or more.
PATTERNS: dict[str, str] = {
    "has an exclamation mark": r"!",
    "has a question mark": r"\?",
    "has an emoji": r"[\U0001F300-\U0001FAFF\u2600-\u27BF\u2B50\u2B55]",
    "has a text smiley": r"(?<!\w)[:;]-?[)(DPpO/](?!\w)|<3|\^_\^|xD\b",
    "has a bullet": r"(?m)^[ \t]*[-*•·–▪‣+][ \t]+\S",
    "has a numbered point": r"(?m)^[ \t]*\(?\d{1,2}[.):][ \t]+\S",
    "has a heading": r"(?m)^[ \t]*#{1,6}[ \t]*\S",
    "has bold or italics": r"\*\*[^*\n]+\*\*|__[^_\n]+__|(?<![\w*])\*[^*\s][^*\n]*\*(?![\w*])",
    "has inline code": r"(?<!`)`[^`\n]+`(?!`)",
    "has a code block": r"```",
    "looks like code": r"(?m)^\s*(?:def |class |import |from \w+ import|#include|function )"
    r"|[;{}]\s*$|=>|==|\(\);",
    "has a table": r"(?m)^[ \t]*\|.*\|",
    "has a formula": r"\$[^$\n]+\$|\\\(|\\\[|\\frac|[=+×÷]\s*\d",
    "has a web address": r"https?://|www\.|\b\w+\.(?:com|org|net|io)\b",
    "has an e-mail address or handle": r"\S+@\S+\.\w+|(?<!\w)@\w+",
    "has a hashtag": r"(?<![\w#&])#[A-Za-z]\w+",
    "has a quotation": r"[\"“”„«»]|(?<!\w)'[^'\n]+'(?!\w)",
    "has parentheses": r"\([^)\n]*\)",
    "has square brackets": r"\[[^\]\n]*\]",
    "has braces or markup": r"\{[^}\n]*\}|</?\w+[^>\n]*>",
    "has a semicolon": r";",
    "has a colon": r":",
    "has a dash": r"—|–|\s-{1,3}\s|--",
    "has an ellipsis": r"\.{3,}|…",
    "has repeated marks": r"[!?]{2,}",
    "has a word in capitals": r"\b[A-Z]{3,}\b",
    "has a stretched word": r"(?i)([a-z])\1{2,}",
    "doubles a word": r"(?i)\b(\w{2,})\s+\1\b",
    "doubles a space": r"\S {2,}\S",
    "leaves out the space after a stop": r"[a-z][.,!?;][A-Za-z]",
    "puts a space before a stop": r"\w +[.,!?;](?:\s|$)",
    "has a number": r"\d",
    "has a year": r"\b(?:1[5-9]|20)\d\d\b",
    "has a percentage": r"\d\s?%|\bpercent\b",
    "mixes letters and digits": r"\b(?:[A-Za-z]+\d+[A-Za-z]+\w*|\d+[A-Za-z]{3,}\w*)\b",
    "has a line break": r"\n",
    "has a blank line": r"\n[ \t]*\n",
    "contracts": r"(?i)\b\w+(?:n't|'re|'ve|'ll|'m|'d)\b",
    "has an all-capitals line": r"(?m)^[^a-z\n]*[A-Z][^a-z\n]{4,}[A-Z][^a-z\n]*$",
    "has a speaker label": r"(?m)^(?:User|Human|Assistant|AI|Q|A|Bot|Question|Answer|Note)\s?:",
    "has a control character": r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\ufeff]",
    "has Cyrillic letters": r"[\u0400-\u04ff]",
    "has Greek letters": r"[\u0370-\u03ff]",
    "has Arabic or Hebrew letters": r"[\u0590-\u06ff]",
    "has Indic letters": r"[\u0900-\u0dff]",
    "has Chinese or Japanese characters": r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]",
    "has Korean letters": r"[\uac00-\ud7af\u1100-\u11ff]",
    "has curly quotes": r"[“”‘’]",
    "has a tab or an odd space": r"[\t\u00a0\u2000-\u200a\u3000]",
    "has a capital inside a word": r"[a-z][A-Z]",
    "hyphenates": r"\w-\w",
    "has a slash": r"\w ?/ ?\w",
    "says a mark twice": r"([^\w\s])\1",
    "spaces letters out": r"\b(?:[A-Za-z][ .-]){3,}[A-Za-z]\b",
    "has a lettered point": r"(?m)^[ \t]*\(?[A-Za-z][.)][ \t]+\S",
    "has a colon at the end of a line": r"(?m):[ \t]*$",
    "has a mark inside a word": r"\w[^\w\s'’.,:;!?/()\"“”—–-]\w",
    "has accented letters": r"[\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f]",
}


# What is true of a response once or not at all: (response, prompt) -> bool.
CHECKS: dict[str, Callable[[str, str], bool]] = {
    "is empty": lambda text, _: not text.strip(),
    "ends with a question": lambda text, _: text.rstrip("\"'”’)* \n").endswith("?"),
    "ends with an exclamation mark": lambda text, _: text.rstrip("\"'”’)* \n").endswith("!"),
    "breaks off": lambda text, _: bool(text.strip()) and not text.rstrip().endswith(TERMINAL),
    "starts with a small letter": lambda text, _: text.lstrip()[:1].islower(),
    "has no capital letter": lambda text, _: text.islower(),
    "is in capitals": lambda text, _: text.isupper(),
    "capitalises its words": lambda text, _: _titled(text),
    "is one sentence": lambda text, _: len(split_sentences(text)) == 1,
    "is one line": lambda text, _: bool(text.strip()) and "\n" not in text.strip(),
    "repeats a sentence": lambda text, _: _repeats(split_sentences(text)),
    "is one whole sentence": lambda text, _: (
        len(split_sentences(text)) == 1 and text.rstrip().endswith(TERMINAL)
    ),
    "is one short sentence": lambda text, _: (
        len(split_sentences(text)) == 1 and len(text.split()) <= SHORT
    ),
    "ends with words it said before": lambda text, _: _ends_again(text.lower().split()),
    "starts by asking": lambda text, _: next(iter(split_sentences(text)), "").endswith("?"),
    "starts by exclaiming": lambda text, _: next(iter(split_sentences(text)), "").endswith("!"),
    "starts with the prompt": lambda text, prompt: (
        bool(prompt.strip()) and _plain(text).startswith(_plain(prompt))
    ),
    "contains the prompt": lambda text, prompt: (
        bool(prompt.strip()) and _plain(prompt) in _plain(text)
    ),
    "is in quotation marks": lambda text, _: (
        text.strip()[:1] in set("\"'“‘«") and text.strip()[-1:] in set("\"'”’»")
    ),
    "is JSON or markup": lambda text, _: (
        text.strip()[:1] in set("{[<") and text.strip()[-1:] in set("}]>")
    ),
    "starts with a mark": lambda text, _: (
        bool(text.strip()) and not text.strip()[0].isalnum() and text.strip()[0] not in "\"'“"
    ),
    "starts with white space": lambda text, _: bool(text.strip()) and text[0].isspace(),
    "ends with white space": lambda text, _: bool(text.strip()) and text[-1].isspace(),
}


CHECK_PATTERNS: dict[str, str] = {
    "ends with a question": r"[^.!?\n]*\?[\"'”’)* \n]*\Z",
    "ends with an exclamation mark": r"[^.!?\n]*![\"'”’)* \n]*\Z",
    "starts by asking": r"\A[^.!?\n]*\?",
    "starts by exclaiming": r"\A[^.!?\n]*!",
}
"""What to highlight in a response that passes a check."""


MARKS = frozenset({
    "has an exclamation mark", "has a question mark", "has a semicolon", "has a colon",
    "has a dash", "has an ellipsis", "has repeated marks", "has a line break", "has a blank line",
    "hyphenates", "has a slash", "says a mark twice", "has a colon at the end of a line",
    "is one line", "is one sentence", "is one whole sentence", "is one short sentence",
    "has curly quotes", "has a mark inside a word", "starts with a mark",
})  # fmt: skip
"""Patterns that say little about what a response is like; a word list says more."""


def _form(statement: str, least: int) -> Form:
    if least > 1:
        return "count"
    return "mark" if statement in MARKS else "category"


def at_least(times: int) -> str:
    """Write " at least twice"; nothing for once."""
    return {1: "", 2: " at least twice"}.get(times, f" at least {times} times")


def _ends_again(words: Sequence[str]) -> bool:
    tail = list(words[-TAIL:])
    return len(words) >= 2 * TAIL and any(
        list(words[i : i + TAIL]) == tail for i in range(len(words) - 2 * TAIL + 1)
    )


def _titled(text: str) -> bool:
    words = [w for w in text.split() if w[:1].isalpha()]
    return len(words) >= 4 and sum(w[0].isupper() for w in words) >= 0.8 * len(words)


def _repeats(sentences: Sequence[str]) -> bool:
    long = [sentence.lower() for sentence in sentences if len(sentence) > 12]
    return len(set(long)) < len(long)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def lexical_indicators(texts: Sequence[str], prompts: Sequence[str], corpus: Corpus) -> Indicators:
    """Mark which of the listed behaviours each response shows.

    Args:
        texts: The responses.
        prompts: The prompt of each response.
        corpus: The responses, tokenised.
    """
    counts: dict[str, NDArray[np.int64]] = {}
    patterns = dict(PATTERNS)
    finder = _Finder(corpus)
    for statement, entries in LEXICONS.items():
        counts[statement] = finder.count(entries)
        patterns[statement] = word_pattern(entries)
    for statement, pattern in PATTERNS.items():
        find = re.compile(pattern).findall
        counts[statement] = np.array([len(find(text)) for text in texts], np.int64)
    indicators: list[Indicator] = []
    shows: list[NDArray[np.bool_]] = []
    for statement, count in counts.items():
        for least in COUNTS:
            indicators.append(
                Indicator(
                    "feature",
                    FAMILY,
                    statement + at_least(least),
                    patterns[statement],
                    form=_form(statement, least),
                    measure=statement,
                    least=least,
                )
            )
            shows.append(count >= least)
    for statement, check in CHECKS.items():
        pattern = CHECK_PATTERNS.get(statement, "")
        indicators.append(
            Indicator("feature", FAMILY, statement, pattern, form=_form(statement, 1))
        )
        shows.append(np.fromiter(map(check, texts, prompts), dtype=np.bool_, count=len(texts)))
    language = language_of(corpus)
    for k, name in enumerate(LANGUAGES):
        indicators.append(Indicator("feature", FAMILY, f"is in {name}"))
        shows.append(language == k)
    return from_masks(indicators, shows, corpus.n)


def sentence_end_indicators(sentences: Sentences) -> Indicators:
    """Look for the word lists in first and last sentences only."""
    indicators: list[Indicator] = []
    shows: list[NDArray[np.bool_]] = []
    for last, where in ((False, "first"), (True, "last")):
        ends = [""] * sentences.n
        for owner, which in zip(*sentences.end(last), strict=True):
            ends[owner] = sentences.texts[which]
        finder = _Finder(read_corpus(ends))
        for statement, entries in LEXICONS.items():
            indicators.append(
                Indicator(
                    "feature",
                    FAMILY,
                    f"{statement} in its {where} sentence",
                    word_pattern(entries),
                    measure=f"{statement} in its {where} sentence",
                )
            )
            shows.append(finder.count(entries) > 0)
    return from_masks(indicators, shows, sentences.n)


def language_of(corpus: Corpus) -> NDArray[np.int64]:
    """Identify the language of each text by its function words; -1 where none is known.

    Returns:
        Index into ``LANGUAGES``, shape (texts,).
    """
    index = {token: i for i, token in enumerate(corpus.vocabulary)}
    hits = np.zeros((corpus.n, len(LANGUAGES)))
    for k, words in enumerate(LANGUAGES.values()):
        known = np.zeros(len(corpus.vocabulary), bool)
        known[[index[w] for w in words if w in index]] = True
        hits[:, k] = corpus.count(known[corpus.tokens]) / len(words)
    return np.where(hits.max(axis=1) > 0, hits.argmax(axis=1), -1)


class _Finder:
    """Counts entries of word lists by token ids, which is faster than to search strings."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._index = {token: i for i, token in enumerate(corpus.vocabulary)}
        self._order = np.argsort(corpus.tokens, kind="stable")
        self._starts = np.searchsorted(
            corpus.tokens[self._order], np.arange(len(corpus.vocabulary) + 1)
        )

    def count(self, entries: Sequence[str]) -> NDArray[np.int64]:
        """Count where an entry begins, in each text; one place counts once."""
        begins = [self._positions(tokenize(entry)) for entry in entries]
        places = np.unique(np.concatenate(begins)) if begins else np.empty(0, np.int64)
        return np.bincount(self._corpus.doc[places], minlength=self._corpus.n)

    def _positions(self, tokens: Sequence[str]) -> NDArray[np.int64]:
        ids = [self._index.get(token, -1) for token in tokens]
        if -1 in ids:
            return np.empty(0, np.int64)
        at = self._order[self._starts[ids[0]] : self._starts[ids[0] + 1]]
        # An entry never runs over the end of a text: END stands between and is in no entry.
        for offset, token in enumerate(ids[1:], start=1):
            at = at[at + offset < len(self._corpus.tokens)]
            at = at[self._corpus.tokens[at + offset] == token]
        return at
