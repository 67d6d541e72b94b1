"""Behaviours that moved together with a finding, in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from custodes.diff.features.indicators import Indicator
from custodes.diff.inference.hypotheses import Hypotheses
from custodes.diff.inference.length import LENGTHS_OF_TEXT
from custodes.diff.inference.randomization import Labels
from custodes.diff.inference.wording import STYLES, clause, percent

__all__ = ["moved_with", "without_figures"]

MOST_CORRELATED = 12


def moved_with(
    hypotheses: Hypotheses,
    which: Sequence[int],
    labels: Labels,
    indicator: Indicator,
    words: Sequence[str],
    plain: bool,
) -> tuple[str, ...]:
    """Say which way other behaviours moved, the plainest first; each count and quotation once.

    If the finding holds for all prompts, so do the behaviours that are named.
    """
    items = hypotheses.indicators.items
    named = {indicator.name}
    if indicator.form == "length":
        named |= LENGTHS_OF_TEXT
    quotes = [word.lower() for word in (*words, *_quotes(indicator.statement))]
    own = (
        clause(replace(indicator, absent=False), 1.0),
        clause(replace(indicator, absent=False), -1.0),
    )
    said: list[str] = []
    out: list[str] = []
    for h in sorted(which, key=lambda h: items[int(hypotheses.behaviour[h])].rank):
        item = items[int(hypotheses.behaviour[h])]
        condition = int(hypotheses.condition[h])
        inner = [quote.lower() for quote in _quotes(item.statement)]
        if (plain and condition >= 0) or item.name in named:
            continue
        if any(one in other or other in one for one in inner for other in quotes):
            continue
        named.add(item.name)
        quotes += inner
        a, b = _rates(hypotheses, h, labels)
        text = clause(item, b - a)
        if condition >= 0:
            text += f", where the prompt {hypotheses.conditions.statements[condition]}"
        if text not in said and text not in own:
            said.append(text)
            out.append(text + _figures(item, a, b))
    return tuple(out[:MOST_CORRELATED])


def without_figures(text: str) -> str:
    """Return what `moved_with` says without the rates at its end."""
    return re.sub(r" \(A [\d.]+%, B [\d.]+%\)$", "", text)


def _figures(item: Indicator, a: float, b: float) -> str:
    """Write A's and B's rate of a behaviour; "" of a measure, where only a threshold has one."""
    if item.measure in STYLES or item.measure.startswith("uses “"):
        return ""
    if item.absent:
        a, b = 1 - a, 1 - b
    return f" (A {percent(a)}, B {percent(b)})"


def _quotes(text: str) -> list[str]:
    return re.findall(r"“([^”]+)”", text)


def _rates(hypotheses: Hypotheses, hypothesis: int, labels: Labels) -> tuple[float, float]:
    """Return a behaviour's rate on either side of the labels."""
    j = int(hypotheses.behaviour[hypothesis])
    inside = hypotheses.members(hypothesis)
    a, b = (
        np.asarray(rates[:, [j]].todense(), np.float64).ravel()[inside]
        for rates in (hypotheses.rates_a, hypotheses.rates_b)
    )
    label = labels[inside, 0]
    second = label > 0
    if hypotheses.paired:
        return float(np.where(second, a, b).mean()), float(np.where(second, b, a).mean())
    either = a + b
    if second.all() or not second.any():
        return float(either.mean()), float(either.mean())
    return float(either[~second].mean()), float(either[second].mean())
