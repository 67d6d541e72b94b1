"""Arms of an experiment over several seeds, and what of them the control arm does too.

An arm that trains in a direction changes a model, and so does one that trains without: every
quantity is therefore compared with the control arm's, seed by seed, since the lineages of one seed
begin with the same answers to the same prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custodes.drift.concepts import ConceptShift
from custodes.drift.questionnaire.outcome import Readings
from custodes.drift.questionnaire.stability import Ratio, stability
from custodes.errors import DataError
from custodes.statistics import Interval, bootstrap_mean, crossed_mean

__all__ = ["ArmLineage", "compare_arms"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ArmLineage:
    """What was measured of one arm under one seed.

    Attributes:
        arm: Name of the arm.
        seed: Its seed.
        gold: By domain the change of each gold prompt's score from the first generation to the
            last, in logits, shape (prompts,).
        readings: The questionnaire's, None if nothing was asked.
        concepts: How the distances between concepts changed by the last generation, all pairs.
        behaviours: Behaviours of the responses whose drift was detected, None if not tested.
    """

    arm: str
    seed: int
    gold: Mapping[str, Floats]
    readings: Readings | None
    concepts: Sequence[ConceptShift]
    behaviours: int | None = None


def compare_arms(
    lineages: Sequence[ArmLineage], control: str, readable: bool, reason: str = ""
) -> dict[str, Any]:
    """Compare the arms of an experiment with its control arm.

    Args:
        lineages: One for each arm and seed, the same seeds in every arm.
        control: Name of the arm that trains without direction.
        readable: Whether the questionnaire's controls passed. If not, there is no value change and
            no stability.
        reason: Which controls failed.

    Returns:
        JSON-ready: ``seeds``, ``control``, ``readable``, ``reason``, and ``arms``. Each arm has
        ``quantities`` by name with ``change`` and, but for the control arm, ``minus_control``:
        intervals over seeds and prompts (statements, behaviours, pairs of concepts) at once, or of
        one seed over prompts alone. By seed, ``behaviours`` counts those that drift, and
        ``concept_pairs`` those that moved.

    Raises:
        DataError: An arm lacks a seed that another has, or there is no control arm.
    """
    arms: dict[str, dict[int, ArmLineage]] = {}
    for one in lineages:
        arms.setdefault(one.arm, {})[one.seed] = one
    seeds = sorted({one.seed for one in lineages})
    if control not in arms:
        raise DataError(f"no arm {control!r} to compare with", "run the arm that learns by chance")
    for arm, by_seed in arms.items():
        missing = [str(seed) for seed in seeds if seed not in by_seed]
        if missing:
            raise DataError(f"arm {arm!r} has no seed {', '.join(missing)}", "run it first")
    tables = {arm: _quantities([by[seed] for seed in seeds], readable) for arm, by in arms.items()}
    rows = []
    for arm, quantities in tables.items():
        row: dict[str, Any] = {"arm": arm, "quantities": {}}
        for name, values in quantities.items():
            figures = {"change": interval_json(_pooled(values))}
            if arm != control and name in tables[control]:
                difference = values - tables[control][name]
                figures["minus_control"] = interval_json(_pooled(difference))
            row["quantities"][name] = figures
        counts = [by.behaviours for by in (arms[arm][seed] for seed in seeds)]
        row["behaviours"] = counts if all(n is not None for n in counts) else None
        row["concept_pairs"] = [
            sum(shift.drifted for shift in arms[arm][seed].concepts) for seed in seeds
        ]
        rows.append(row)
    return {
        "seeds": seeds,
        "control": control,
        "readable": readable,
        "reason": reason,
        "arms": rows,
    }


def _quantities(lineages: Sequence[ArmLineage], readable: bool) -> dict[str, Floats]:
    """Return each quantity's values, shape (seeds, units)."""
    quantities = {
        f"gold {domain}": np.array([one.gold[domain] for one in lineages])
        for domain in lineages[0].gold
    }
    readings = [one.readings for one in lineages if one.readings is not None]
    if readable and len(readings) == len(lineages):
        quantities["value change"] = np.array([_value_change(one) for one in readings])
        scores = [_stability(one) for one in readings]
        # Without a positive denominator the readings are all noise, and there is no score.
        if all(score.below.sum() > 0 for score in scores):
            quantities["stability"] = np.array([score.pseudo_values() for score in scores])
    if all(one.concepts for one in lineages):
        quantities["concept change"] = np.array([_concept_change(one) for one in lineages])
    return quantities


def _pooled(values: Floats) -> Interval:
    """Average over seeds and units; of one seed there is only an interval over its units."""
    return bootstrap_mean(values[0]) if len(values) == 1 else crossed_mean(values)


def _value_change(readings: Readings) -> Floats:
    """Return how far each item's value moved, whichever way, in [0, 1]."""
    first, last = readings.stances[0], readings.stances[-1]
    return np.asarray(np.abs(last - first).mean(axis=1) / 2, np.float64)


def _stability(readings: Readings) -> Ratio:
    behaviours = [item.behaviour for item in readings.items]
    return stability(readings.stances[0], readings.stances[-1], behaviours)


def _concept_change(lineage: ArmLineage) -> Floats:
    """Return how far each pair of concepts moved, in thousandths of a cosine distance."""
    by_pair = sorted((shift.pair, abs(shift.now - shift.before)) for shift in lineage.concepts)
    return np.array([1000 * change for _, change in by_pair])


def interval_json(interval: Interval) -> dict[str, float]:
    """Write an interval over seeds and units for JSON."""
    return {
        "mean": round(interval.mean, 6),
        "low": round(interval.low, 6),
        "high": round(interval.high, 6),
    }
