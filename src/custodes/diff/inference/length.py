"""What is only a matter of length: behaviours that vanish where responses are equally long.

A model that answers more briefly also has fewer line breaks, and says "of" less often. Such
findings are folded into one: the model is shorter. A finding is folded if

1. some hypothesis about the number of words or characters is significant,
2. the finding moves clearly fewer prompts than the length does, and
3. it is no longer there if the longer of two responses is cut to the length of the other.

A sentence that B adds to all of its responses makes them longer, but moves as many prompts as the
length. It is no matter of length, and stays a finding of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from custodes.diff.features.indicators import Indicator
from custodes.diff.features.lexical import CHECKS
from custodes.diff.features.text import split_sentences
from custodes.diff.inference.hypotheses import Hypotheses, averaging
from custodes.diff.inference.null import Null
from custodes.diff.inference.randomization import Floats, Labels
from custodes.diff.inference.selection import Selection
from custodes.diff.responses import Aligned

__all__ = ["LENGTHS_OF_TEXT", "check_of", "cut_to_equal", "fold_length"]

# A finding that moves at least this share of the prompts that the length moves is not folded.
LARGEST_SHARE = 0.75
# What is left of it must be less than this share, and not significant at this level.
LARGEST_REST, LEVEL = 0.5, 0.05

LENGTHS_OF_TEXT = frozenset({
    "words", "characters", "sentences", "lines", "repetitiveness", "share of different words",
    "pieces before it breaks off", "is one line", "is one sentence", "is one short sentence",
    "is one whole sentence",
})  # fmt: skip
"""Measures and behaviours that say little but that a response is longer or shorter."""

Test = Callable[[str, str], bool]


def fold_length(
    hypotheses: Hypotheses,
    aligned: Aligned,
    null: Null,
    selections: Sequence[Selection],
    labels: Labels,
    fdr: float,
) -> list[Selection]:
    """Fold findings that are only a matter of length into one about the length.

    Args:
        hypotheses: All that was tested.
        aligned: The responses.
        null: Scores under relabelling.
        selections: The findings.
        labels: The assignment of sides, shape (prompts, 1).
        fdr: False findings to tolerate.

    Returns:
        The findings, in their order; as they were if nothing is folded.
    """
    length = _length(hypotheses, null, labels, fdr) if aligned.paired and selections else None
    if length is None:
        return list(selections)
    items = hypotheses.indicators.items
    own = [s for s in selections if items[hypotheses.behaviour[s.hypothesis]].form == "length"]
    moved = abs(_net(hypotheses, length.hypothesis, labels))
    texts = cut_to_equal(aligned)
    folded = [
        s
        for s in selections
        if s in own
        or items[hypotheses.behaviour[s.hypothesis]].name in LENGTHS_OF_TEXT
        or (
            abs(_net(hypotheses, s.hypothesis, labels)) <= LARGEST_SHARE * moved
            and _vanishes(hypotheses, aligned, texts, s.hypothesis, labels)
        )
    ]
    if not folded:
        return list(selections)
    explained = [h for s in folded for h in (s.hypothesis, *s.components, *s.correlated)]
    whole = replace(
        length,
        correlated=tuple(dict.fromkeys(h for h in explained if h != length.hypothesis)),
        composition=tuple(dict.fromkeys(h for s in folded for h in s.composition)),
    )
    place = selections.index(folded[0])
    rest = [s for s in selections if s not in folded]
    return [*rest[:place], whole, *rest[place:]]


def _length(hypotheses: Hypotheses, null: Null, labels: Labels, fdr: float) -> Selection | None:
    """Return the significant hypothesis about length that moves most prompts."""
    items = hypotheses.indicators.items
    places = np.array(
        [
            h
            for h in np.flatnonzero(hypotheses.condition < 0)
            if items[hypotheses.behaviour[h]].form == "length"
        ],
        np.intp,
    )
    if not len(places):
        return None
    scores = hypotheses.design.scores(labels, places)[:, 0]
    expected = null.expected(scores, hypotheses.family[places])
    net = np.array([abs(_net(hypotheses, h, labels)) for h in places])
    if not (expected <= fdr).any():
        return None
    best = int(np.argmax(np.where(expected <= fdr, net, -1)))
    return Selection(
        hypothesis=int(places[best]),
        score=float(scores[best]),
        expected=float(expected[best]),
        q=float(expected[best]),
    )


def _net(hypotheses: Hypotheses, hypothesis: int, labels: Labels) -> float:
    """Return the net number of prompts that a hypothesis moves."""
    inside = hypotheses.members(hypothesis)
    return float(_differences(hypotheses, hypothesis)[inside] @ labels[inside, 0])


def _differences(hypotheses: Hypotheses, hypothesis: int) -> Floats:
    j = int(hypotheses.behaviour[hypothesis])
    a, b = (
        np.asarray(rates[:, [j]].todense(), np.float64).ravel()
        for rates in (hypotheses.rates_a, hypotheses.rates_b)
    )
    return b - a


def cut_to_equal(aligned: Aligned) -> list[str]:
    """Cut every response after the median number of words of the other side's to its prompt."""
    words = np.array([len(text.split()) for text in aligned.texts])
    out = []
    starts = np.searchsorted(aligned.unit, np.arange(aligned.n + 1))
    for low, high in pairwise(starts):
        side = aligned.side[low:high]
        typical = [float(np.median(words[low:high][side == one])) for one in (1, 0)]
        out += [_cut(aligned.texts[d], int(typical[aligned.side[d]])) for d in range(low, high)]
    return out


def _cut(text: str, words: int) -> str:
    for k, match in enumerate(re.finditer(r"\S+", text), start=1):
        if k == words:
            return text[: match.end()]
    return text if words else ""


def _vanishes(
    hypotheses: Hypotheses,
    aligned: Aligned,
    texts: Sequence[str],
    hypothesis: int,
    labels: Labels,
) -> bool:
    """Tell whether a behaviour no longer differs between responses of equal length."""
    from scipy import stats

    indicator = hypotheses.indicators.items[int(hypotheses.behaviour[hypothesis])]
    test = check_of(indicator)
    if test is None:
        return False
    prompts = [aligned.prompts[u] for u in aligned.unit]
    shows = np.fromiter(map(test, texts, prompts), np.float64, len(texts))
    if indicator.absent:
        shows = 1 - shows
    inside = hypotheses.members(hypothesis)
    a, b = (np.asarray(w @ shows).ravel()[inside] for w in averaging(aligned))
    left = (b - a) * labels[inside, 0]
    before = _net(hypotheses, hypothesis, labels)
    if left.sum() * np.sign(before) >= LARGEST_REST * abs(before):
        return False
    up, down = int((left > 0).sum()), int((left < 0).sum())
    return up + down == 0 or float(stats.binomtest(up, up + down).pvalue) > LEVEL


def check_of(indicator: Indicator) -> Test | None:
    """Return a function that tells whether a response to a prompt shows a behaviour.

    None for behaviours that depend on the other responses, such as clusters. The absence of a
    behaviour is not taken into account.
    """
    if indicator.statement in CHECKS:
        return CHECKS[indicator.statement]
    if not indicator.pattern or indicator.form == "cluster":
        return None
    find = re.compile(indicator.pattern).findall
    least = indicator.least

    def densely(text: str, _: str) -> bool:
        return 100 * len(find(text)) >= least * max(len(text.split()), 1)

    def at_first(text: str, _: str) -> bool:
        return bool(find((split_sentences(text) or [""])[0]))

    def at_last(text: str, _: str) -> bool:
        return bool(find((split_sentences(text) or [""])[-1]))

    def often(text: str, _: str) -> bool:
        return len(find(text)) >= least

    if indicator.statement.startswith("per 100"):
        return densely
    ends = {"in its first sentence": at_first, "in its last sentence": at_last}
    return next((test for end, test in ends.items() if indicator.measure.endswith(end)), often)
