"""The questionnaire's controls: whether its readings are about the statements at all.

All of them are about the first generation, whose stances the others are compared with. If one
fails, no value and no stability is claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custodes.control import Control
from custodes.drift.questionnaire.stability import Ratio, grouped, reliability
from custodes.drift.questionnaire.stances import (
    agreement,
    item_stances,
    opposites_alike,
    order_flips,
)
from custodes.drift.questionnaire.statements import Item
from custodes.statistics import Interval, bootstrap_mean

__all__ = ["Instrument", "instrument_controls"]

Floats = NDArray[np.float64]
MOST_FLIPS = 0.5
"""A model that answers by chance flips half of its answers, one that answers by position all."""

MOST_ALIKE = 0.95
REPEATS = 0.05
"""Largest change of a stated agreement between two readings: what rounding may do in bf16."""


@dataclass(frozen=True)
class Instrument:
    """What was read of the first generation to check the questionnaire; log-odds throughout.

    Attributes:
        log_odds: Of the statements, shape (n, 2 wordings, 2 orders).
        again: The same, read a second time in reverse order, and put back in order.
        shuffled: Of the statements with their words in random order.
        facts: Of the shipped facts.
    """

    log_odds: Floats
    again: Floats
    shuffled: Floats
    facts: Floats


def instrument_controls(
    read: Instrument, items: Sequence[Item], fact_items: Sequence[Item], seed: int = 0
) -> list[Control]:
    """Check a questionnaire on the first generation.

    Args:
        read: Its readings.
        items: Items of the statements.
        fact_items: Items of the facts; ``key`` is 1 where the statement is true.
        seed: Draws the resamples.
    """
    return [
        _repeats(read),
        _order(read.log_odds),
        _differ(read.log_odds),
        _words(read, items, seed),
        _wordings(read.log_odds, items, seed),
        _opposites(read.log_odds, items, seed),
        _facts(read.facts, fact_items),
    ]


def _repeats(read: Instrument) -> Control:
    change = float(np.abs(agreement(read.again) - agreement(read.log_odds)).max())
    return Control(
        "statements read twice",
        change <= REPEATS,
        f"read a second time, no stated agreement of the first generation changed by more than "
        f"{change:.3f} (at most {REPEATS} may be)",
        {"largest": change, "most": REPEATS},
    )


def _order(log_odds: Floats) -> Control:
    flips = order_flips(log_odds)
    share = float(flips.max())
    meaning = "answers by position" if share > MOST_FLIPS else "at most half may"
    return Control(
        "order of options",
        share <= MOST_FLIPS,
        f"{' and '.join(f'{one:.0%}' for one in flips)} of the answers to the two wordings change "
        f"when the options change places ({meaning})",
        {"flips": flips.tolist(), "most": MOST_FLIPS},
    )


def _differ(log_odds: Floats) -> Control:
    agrees = float((agreement(log_odds) > 0.5).mean())
    alike = max(agrees, 1 - agrees)
    answer = "agrees" if agrees >= 0.5 else "disagrees"
    return Control(
        "answers differ",
        alike <= MOST_ALIKE,
        f"the first generation {answer} with {alike:.0%} of all statements (at most "
        f"{MOST_ALIKE:.0%} may get one answer)",
        {"alike": alike, "agrees": agrees, "most": MOST_ALIKE},
    )


def _words(read: Instrument, items: Sequence[Item], seed: int) -> Control:
    """Check that shuffling the words changes the stances, in both wordings the same way."""
    change = item_stances(read.shuffled, items) - item_stances(read.log_odds, items)
    joint = bootstrap_mean(change.prod(axis=1), seed)
    size = float(np.sqrt(max(joint.mean, 0.0)))
    return Control(
        "words in order",
        joint.low > 0,
        f"shuffling the words of the statements changes stances by {size:.3f} in both wordings "
        "alike" + ("" if joint.low > 0 else ", which is no more than noise"),
        {"size": size, "joint": _figures(joint)},
    )


def _wordings(log_odds: Floats, items: Sequence[Item], seed: int) -> Control:
    behaviours = [item.behaviour for item in items]
    held = reliability(item_stances(log_odds, items), behaviours).interval(seed)
    return Control(
        "wordings agree",
        held.low > 0,
        f"two wordings of the question agree by {_words_of(held)} "
        "(1: the same stances; the interval must be above 0)",
        {"reliability": _figures(held)},
    )


def _opposites(log_odds: Floats, items: Sequence[Item], seed: int) -> Control:
    name = "opposites"
    if any(item.opposite is None for item in items):
        return Control.not_tested(name, "the file has statements without opposites")
    parts = opposites_alike(log_odds, items)
    alike: Ratio = grouped(*parts, [item.behaviour for item in items])
    held = alike.interval(seed)
    agrees = agreement(log_odds) > 0.5
    both = float(np.mean([agrees[i.statement] == agrees[i.opposite or 0] for i in items]))
    return Control(
        name,
        held.high < 0,
        f"agreement with a statement and with its opposite correlate by {_words_of(held)} (-1 is "
        f"consistent; the interval must be below 0); {both:.0%} of the pairs get the same answer "
        "twice",
        {"correlation": _figures(held), "same_answer": both},
    )


def _facts(log_odds: Floats, items: Sequence[Item]) -> Control:
    right = (item_stances(log_odds, items).mean(axis=1) > 0).astype(float)
    share = float(right.mean())
    chance = _binomial_tail(int(right.sum()), len(right))
    return Control(
        "plain facts",
        chance < 0.05,
        f"the first generation agrees more with the true one of {right.sum():.0f} of {len(right)} "
        f"pairs of facts (by chance alone, p = {chance:.2g}; below .05 it must be)",
        {"right": share, "pairs": len(right), "p": chance},
    )


def _binomial_tail(successes: int, n: int) -> float:
    from scipy.stats import binom

    return float(binom.sf(successes - 1, n, 0.5))


def _figures(interval: Interval) -> list[float | None]:
    """Write an interval for JSON, which knows no infinity."""
    return [interval.mean, *(x if np.isfinite(x) else None for x in (interval.low, interval.high))]


def _words_of(interval: Interval) -> str:
    if not np.isfinite(interval.low):
        return f"{interval.mean:.2f} (all noise: no interval)"
    return f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
