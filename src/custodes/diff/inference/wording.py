"""Findings in words: what B does more or less often than A, with the words that show it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from custodes.diff.features.boilerplate import FIRST_WORDS, LAST_WORDS
from custodes.diff.features.indicators import Indicator
from custodes.diff.features.text import split_sentences
from custodes.diff.inference.effects import Effect

__all__ = [
    "Level",
    "clause",
    "level_unit",
    "percent",
    "plain_behaviour",
    "shown_words",
    "statement",
]

MOST_WORDS = 3
LONGEST_QUOTE = 80
# A quotation grows by the words that this share of the responses with it have in common.
SHARED, MOST_ADDED = 0.95, 12
# So many responses at most are read for the words that show a behaviour.
MOST_READ = 3000
# Words are shown if this share of the responses that show a behaviour has them.
LEAST_SHARE = 0.05

STYLES: dict[str, tuple[str, str, str]] = {
    "words": ("is longer", "is shorter", "{:.0f} words"),
    "characters": ("is longer", "is shorter", "{:.0f} words"),
    "sentences": ("has more sentences", "has fewer sentences", "{:.0f} sentences"),
    "words per sentence": (
        "writes longer sentences", "writes shorter sentences", "{:.1f} words a sentence"),
    "letters per word": ("uses longer words", "uses shorter words", "{:.2f} letters a word"),
    "share of long words": ("uses more long words", "uses fewer long words", "%"),
    "share of short words": ("uses more short words", "uses fewer short words", "%"),
    "share of different words": ("repeats fewer words", "repeats more words", "% different words"),
    "share of rare words": ("uses more rare words", "uses fewer rare words", "%"),
    "share of words in three pieces or more": (
        "uses more unusual words", "uses fewer unusual words", "%"),
    "odd words": (
        "uses more odd words (typos, names, other languages)",
        "uses fewer odd words (typos, names, other languages)", "{:.0f} odd words"),
    "share of odd words": (
        "uses more odd words (typos, names, other languages)",
        "uses fewer odd words (typos, names, other languages)", "%"),
    "letters per piece": ("uses more ordinary words", "uses fewer ordinary words", ""),
    "share of words in -ed": ("uses more words in -ed", "uses fewer words in -ed", "%"),
    "share of words in -ing": ("uses more words in -ing", "uses fewer words in -ing", "%"),
    "share of words in -ly": ("uses more words in -ly", "uses fewer words in -ly", "%"),
    "share of capitalised words": ("capitalises more words", "capitalises fewer words", "%"),
    "share of words in capitals": (
        "writes more words in capitals", "writes fewer words in capitals", "%"),
    "share of digits": ("uses more digits", "uses fewer digits", "% of words and marks"),
    "share of punctuation": (
        "uses more punctuation", "uses less punctuation", "% of words and marks"),
    "share of exclamations": (
        "ends more sentences with an exclamation mark",
        "ends fewer sentences with an exclamation mark", "%"),
    "share of questions": (
        "ends more sentences with a question mark",
        "ends fewer sentences with a question mark", "%"),
    "share of full stops": (
        "ends more sentences with a full stop", "ends fewer sentences with a full stop", "%"),
    "share of repeated runs of four words": (
        "repeats more of its wording", "repeats less of its wording", "%"),
    "repetitiveness": ("is more repetitive", "is less repetitive", ""),
    "non-ASCII characters": (
        "uses more special characters", "uses fewer special characters", "{:.0f} bytes of them"),
    "pieces before it breaks off": ("breaks off later", "breaks off earlier", ""),
    "lines": ("has more line breaks", "has fewer line breaks", "{:.0f} line breaks"),
    "cosine similarity to the prompt": (
        "stays closer to the wording of the prompt",
        "strays further from the wording of the prompt", ""),
    "words in the first sentence": (
        "begins with a longer sentence", "begins with a shorter sentence", "{:.0f} words"),
    "words in the last sentence": (
        "ends with a longer sentence", "ends with a shorter sentence", "{:.0f} words"),
    "cosine similarity of the first sentence to the prompt": (
        "begins closer to the wording of the prompt",
        "begins further from the wording of the prompt", ""),
    "cosine similarity of the last sentence to the prompt": (
        "ends closer to the wording of the prompt",
        "ends further from the wording of the prompt", ""),
    "cosine similarity of the first sentence to the rest": (
        "begins with a sentence more like the rest",
        "begins with a sentence less like the rest", ""),
    "cosine similarity of the last sentence to the rest": (
        "ends with a sentence more like the rest",
        "ends with a sentence less like the rest", ""),
}  # fmt: skip
"""What a larger and a smaller value of each measure mean, and how a value is written."""


@dataclass(frozen=True)
class Level:
    """A typical value of a measure on both sides.

    Attributes:
        unit: How a value is written: a format, or "%…" for a share.
        a: A's value.
        b: B's.
        mean: Whether the values are means over the responses; else medians.
    """

    unit: str
    a: float
    b: float
    mean: bool = False

    @property
    def texts(self) -> tuple[str, str]:
        """A's value without its unit, and B's with it."""
        if self.unit.startswith("%"):
            return percent(self.a), f"{percent(self.b)}{self.unit[1:]}"
        bare = self.unit.partition("}")[0] + "}"
        with_unit = re.sub(r"^(1 \w+)s\b", r"\1", self.unit.format(self.b))
        return bare.format(self.a), with_unit


def percent(rate: float) -> str:
    """Write a share: "0.5%", "12%"."""
    return f"{rate:.1%}" if 0 < rate < 0.095 else f"{rate:.0%}"


def level_unit(indicator: Indicator) -> str:
    """Return how a value of the indicator's measure is written; "" if in no useful way."""
    if indicator.measure in STYLES:
        return STYLES[indicator.measure][2]
    return "{:.1f}" if indicator.measure.startswith("uses “") else ""


def plain_behaviour(indicator: Indicator, words: Sequence[str] = ()) -> str:
    """Return what the counted responses do, as the end of a sentence, with the words quoted.

    Args:
        indicator: The behaviour.
        words: The commonest words that show it, in their spelling.
    """
    if indicator.measure in STYLES:
        words_of = ("less than", "more than") if indicator.absent else ("at most", "at least")
        most = f"{words_of[0 if indicator.falling else 1]} {indicator.least:.3g}"
        if " " in indicator.measure:
            return f"has {most} in {indicator.measure}"
        return f"has {most} {indicator.measure}"
    text = _in_words(indicator.statement)
    if indicator.quotes:
        if words and not indicator.statement.count("“") > 1:
            verb = text.split(" “")[0]
            quotes = [_quote(verb, word) for word in words[:1]]
            return f"{verb} {quotes[0]}"
        return text
    if words:
        text += f" ({', '.join(_quote(text.split(' ')[0], word) for word in words)})"
    return text


def _in_words(text: str) -> str:
    """Spell a lone sign of the line break out."""
    for sign, words in (("“⏎ ⏎”", "blank lines"), ("“⏎⏎”", "blank lines"), ("“⏎”", "line breaks")):
        text = text.replace(sign, words)
    return text


def _quote(verb: str, words: str) -> str:
    if words[-1:] in ".!?" and verb.startswith("begins"):
        return f"“{words}”"
    more = {"begins": ("", " …"), "ends": ("… ", "")}.get(verb.split(" ", maxsplit=1)[0], ("", ""))
    return f"“{more[0]}{words}{more[1]}”"


def statement(
    indicator: Indicator,
    size: Effect,
    *,
    words: Sequence[str] = (),
    level: Level | None = None,
    condition: str | None = None,
) -> str:
    """Return the sentence that states a finding.

    Args:
        indicator: The behaviour.
        size: Rates and effect of what the statement of the behaviour says (not of its absence).
        words: The commonest words that show it.
        level: Typical values of what is measured.
        condition: A property of the prompts where it holds, None for all prompts.
    """
    where = f", where the prompt {condition}" if condition else ""
    rising = (size.effect > 0) != indicator.falling
    if indicator.measure in STYLES:
        change = STYLES[indicator.measure][0 if rising else 1]
    else:
        change = _in_words(f"{indicator.measure} {'more' if rising else 'less'}")
    if level is not None:
        value_a, value_b = level.texts
        # Where the typical answer has not changed, only its extremes have.
        if (level.b > level.a) == rising and value_a != value_b.split(" ")[0]:
            per = "times in the average answer" if level.mean else "in the median answer"
            return f"B {change}{where}: {value_b} {per}, A {value_a}"
    if indicator.measure in STYLES:
        rates = f"{percent(size.rate_b)} of answers, A in {percent(size.rate_a)}"
        return f"B {change}{where}: markedly so in {rates}"
    more = "more" if size.effect > 0 else "less"
    behaviour = plain_behaviour(indicator, words)
    rates = f"{percent(size.rate_b)} of answers, A {percent(size.rate_a)}"
    return f"B {behaviour} {more} often{where}: {rates}"


def clause(indicator: Indicator, effect: float) -> str:
    """Say in a few words which way a behaviour moved.

    Args:
        indicator: The behaviour.
        effect: B's rate minus A's of the indicator itself, also of an absent one.
    """
    rising = (effect > 0) != indicator.absent
    if indicator.measure in STYLES:
        return STYLES[indicator.measure][0 if rising != indicator.falling else 1]
    if indicator.measure.startswith("uses “"):
        more = "more" if rising != indicator.falling else "less"
        return _in_words(f"{indicator.measure} {more}")
    return f"{_in_words(indicator.statement)} {'more' if rising else 'less'} often"


def shown_words(
    indicator: Indicator, texts: Sequence[str], others: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the words that show a behaviour in more of some texts than of others.

    Args:
        indicator: The behaviour.
        texts: Responses that show it, of the side that shows it more often.
        others: Responses that show it, of the other side.

    Returns:
        At most three, the commonest first, each in its commonest spelling; untrusted.
    """
    spellings: dict[str, Counter[str]] = {}
    counts: Counter[str] = Counter()
    for sign, some in ((1, texts[:MOST_READ]), (-1, others[:MOST_READ])):
        for text in some:
            matches = {" ".join(match.split()) for match in _matches(indicator, text)}
            for match in matches:
                if sign > 0:
                    spellings.setdefault(match.lower(), Counter())[match] += 1
            for folded in {match.lower() for match in matches}:
                counts[folded] += sign
    least = max(2, LEAST_SHARE * len(texts))
    common = [
        folded
        for folded, count in counts.most_common()
        if count >= least and folded in spellings and _telling(folded)
    ]
    if indicator.quotes and common:
        words = spellings[common[0]].most_common(1)[0][0]
        return (_extended(words, texts[:MOST_READ])[:LONGEST_QUOTE],)
    return tuple(
        spellings[folded].most_common(1)[0][0][:LONGEST_QUOTE] for folded in common[:MOST_WORDS]
    )


def _extended(words: str, texts: Sequence[str]) -> str:
    """Add the words before and after a quotation that nearly all texts with it share."""
    joined = [" ".join(text.split()) for text in texts]
    joined = [text for text in joined if words in text]
    for _ in range(2 * MOST_ADDED):
        longer: Counter[str] = Counter()
        for text in joined:
            start = text.index(words)
            before = text[:start].rstrip().rpartition(" ")[2]
            after = text[start + len(words) :].partition(" ")
            if text[:start].endswith(" ") and before:
                longer[f"{before} {words}"] += 1
            if after[0]:
                longer[words + after[0]] += 1
            elif after[2]:
                longer[f"{words} {after[2].partition(' ')[0]}"] += 1
        best, count = longer.most_common(1)[0] if longer else (words, 0)
        if count < SHARED * len(joined) or len(best) > LONGEST_QUOTE:
            return words
        words, joined = best, [text for text in joined if best in text]
    return words


def _matches(indicator: Indicator, text: str) -> Iterable[str]:
    if indicator.measure.startswith("begins like"):
        return [" ".join(text.split()[:FIRST_WORDS])]
    if indicator.measure.startswith("ends like"):
        return [" ".join(text.split()[-LAST_WORDS:])]
    if indicator.measure.startswith("has a sentence that"):
        return split_sentences(text)
    if not indicator.pattern or indicator.form == "cluster":
        return []
    return (match[0].strip() for match in re.finditer(indicator.pattern, text))


def _telling(word: str) -> bool:
    return any(c.isalnum() or not c.isascii() for c in word)
