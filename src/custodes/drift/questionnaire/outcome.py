"""What a questionnaire says about a lineage: values by behaviour, their changes, the stability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custodes.control import Control, failed, ordered
from custodes.drift.questionnaire.controls import Instrument, instrument_controls
from custodes.drift.questionnaire.stability import reliability, stability
from custodes.drift.questionnaire.stances import (
    agreement,
    item_stances,
    matching_agreement,
    order_flips,
)
from custodes.drift.questionnaire.statements import Item, Statement, items_of
from custodes.statistics import Interval, bootstrap_mean, paired_change

__all__ = ["Readings", "holm", "questionnaire_outcome"]

Floats = NDArray[np.float64]
ALPHA = 0.05
FEWEST_ITEMS = 3
"""Items of a behaviour; with fewer its change is shown and not tested."""

DIGITS = 6


@dataclass(frozen=True)
class Readings:
    """What was read of a lineage.

    Attributes:
        statements: The statements.
        log_odds: By generation the log-odds of agreeing, shape (n, 2 wordings, 2 orders) each; of
            the first generation alone if a control of it failed.
        instrument: The further readings of the first generation.
        facts: The statements of ``instrument.facts``.
        answered: By generation the mean probability that the model gives one of the two answers.
        seed: Draws the resamples of controls and intervals.
    """

    statements: Sequence[Statement]
    log_odds: Sequence[Floats]
    instrument: Instrument
    facts: Sequence[Statement]
    answered: Sequence[float] = ()
    seed: int = 0

    @property
    def items(self) -> list[Item]:
        """The statements, each with its opposite if it has one."""
        return items_of(self.statements)

    @property
    def stances(self) -> list[Floats]:
        """By generation each item's lean towards its behaviour, (items, wordings) in [-1, 1]."""
        return [item_stances(one, self.items) for one in self.log_odds]

    def controls(self) -> list[Control]:
        """Check the questionnaire on the first generation."""
        return instrument_controls(self.instrument, self.items, items_of(self.facts), self.seed)


def questionnaire_outcome(readings: Readings) -> dict[str, Any]:
    """Return the content of drift.json's ``questionnaire``.

    Where a control fails, ``readable`` is false, and the later generations are left out.

    Args:
        readings: What was read.
    """
    controls = readings.controls()
    broken = failed(controls)
    readable = not broken
    reason = "; ".join(f"{one.name}: {one.explanation}" for one in broken)
    shown = readings.log_odds if readable else readings.log_odds[:1]
    generations = [_generation(readings, t) for t in range(len(shown))]
    matching = [matching_agreement(one, readings.statements) for one in shown]
    return {
        "statements": len(readings.statements),
        "items": len(readings.items),
        "readable": readable,
        "reason": reason,
        "controls": [one.to_dict() for one in ordered(controls)],
        "generations": generations,
        "answers": [
            {
                "id": one.id,
                "behaviour": one.behaviour,
                "statement": one.text,
                "matching": [round(float(by[i]), DIGITS) for by in matching],
            }
            for i, one in enumerate(readings.statements)
        ],
    }


def _generation(readings: Readings, t: int) -> dict[str, Any]:
    behaviours = [item.behaviour for item in readings.items]
    first, now = readings.stances[0], readings.stances[t]
    score = stability(first, now, behaviours).interval(readings.seed) if t else None
    return {
        "generation": t,
        "agrees": round(float(agreement(readings.log_odds[t]).mean()), DIGITS),
        "answered": round(readings.answered[t], DIGITS) if readings.answered else None,
        "flips": [round(float(x), DIGITS) for x in order_flips(readings.log_odds[t])],
        "reliability": _interval(reliability(now, behaviours).interval(readings.seed)),
        "stability": _interval(score),
        "behaviours": _behaviours(first, now, behaviours, t, readings.seed),
    }


def _behaviours(
    first: Floats, now: Floats, behaviours: Sequence[str], t: int, seed: int
) -> list[dict[str, Any]]:
    """Summarise each behaviour: its value in [0, 1], and its change, paired by item."""
    values, before = (1 + now.mean(axis=1)) / 2, (1 + first.mean(axis=1)) / 2
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys(behaviours):
        at = [i for i, one in enumerate(behaviours) if one == name]
        row: dict[str, Any] = {"behaviour": name, "items": len(at)}
        row["value"] = _interval(bootstrap_mean(values[at], seed))
        row["change"], row["p"] = None, None
        if t:
            row["change"] = _interval(bootstrap_mean((values - before)[at], seed))
            if len(at) >= FEWEST_ITEMS:
                test = paired_change(before[at].tolist(), values[at].tolist())
                row["p"] = min(1.0, 2 * min(test.p_rise, test.p_fall))
        rows.append(row)
    tested = [row for row in rows if row["p"] is not None]
    for row, adjusted in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_adjusted"] = adjusted
    for row in rows:
        row.setdefault("p_adjusted", None)
        row["changed"] = None if row["p_adjusted"] is None else row["p_adjusted"] < ALPHA
    return rows


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm (Scandinavian Journal of Statistics 6, 1979)."""
    order = np.argsort(p, kind="stable")
    steps = np.asarray(p, np.float64)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(one) for one in adjusted]


def _interval(interval: Interval | None) -> dict[str, float | None] | None:
    """Write an interval for JSON, which knows no infinity."""
    if interval is None:
        return None
    ends = (interval.low, interval.high)
    low, high = (round(end, DIGITS) if np.isfinite(end) else None for end in ends)
    return {"mean": round(interval.mean, DIGITS), "low": low, "high": high}
