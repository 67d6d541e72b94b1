"""What a loop does over time: recovery, collapse, oscillation, hysteresis, as defined numbers.

A *series* is one value a step, such as a gold score or a mean clean rating; higher is better.
docs/guide/sweep.md has the definitions in words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Hysteresis",
    "Oscillation",
    "RecoveryTime",
    "collapse",
    "hysteresis",
    "oscillation",
    "recovery_time",
    "walk",
]

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class RecoveryTime:
    """What became of a series after the onset of a perturbation.

    Attributes:
        outcome: ``unknown`` with fewer than ``hold`` steps before or after the onset.
        before: Mean before the onset.
        lowest: Lowest mean of ``hold`` steps in a row from the onset on.
        steps: From the onset to the recovery; None unless it recovered.
    """

    outcome: Literal["unknown", "no_damage", "recovered", "not_recovered"]
    before: float = math.nan
    lowest: float = math.nan
    steps: int | None = None


def recovery_time(series: ArrayLike, onset: int, *, margin: float, hold: int = 3) -> RecoveryTime:
    """Measure how long a series takes to come back.

    *Damage*: some ``hold`` steps in a row from the onset on have a mean below the mean before it
    by more than ``margin``. *Recovery*: the first step after the first damage from which on every
    ``hold`` steps in a row, to the end, have a mean within the margin.

    Take a margin of twice the series' scatter over ``hold`` steps at least; what is measured on
    prompts and not on a series has a test of its own (`custodes.oversight`'s recovery).

    Args:
        series: Shape (steps,).
        onset: First disturbed step.
        margin: Differences up to this do not matter; >= 0.
        hold: Steps in a row that make a level; >= 1.
    """
    x_S = np.asarray(series, dtype=np.float64)
    if margin < 0 or hold < 1 or not np.isfinite(x_S).all():
        raise ValueError(f"margin {margin}, hold {hold}: out of range, or a value is not finite")
    if onset < hold or len(x_S) - onset < hold:
        return RecoveryTime("unknown")
    before = float(x_S[:onset].mean())
    level = np.convolve(x_S[onset:], np.full(hold, 1 / hold), mode="valid")
    damaged = np.flatnonzero(level < before - margin)
    lowest = float(level.min())
    if not len(damaged):
        return RecoveryTime("no_damage", before, lowest)
    back = int(damaged[-1]) + 1
    if back >= len(level):
        return RecoveryTime("not_recovered", before, lowest)
    return RecoveryTime("recovered", before, lowest, back)


def collapse(series: ArrayLike, floor: float, hold: int = 3) -> int | None:
    """Return the first step from which on a series stays below a floor to its end.

    None where it does not, or has done so for fewer than ``hold`` steps.
    """
    x_S = np.asarray(series, dtype=np.float64)
    above = np.flatnonzero(~(x_S < floor))
    first = int(above[-1]) + 1 if len(above) else 0
    return first if len(x_S) - first >= hold else None


@dataclass(frozen=True)
class Oscillation:
    """Whether retraining goes back and forth between domains.

    Attributes:
        retrains: How many.
        alternations: How often a retrain was in another domain than the one before.
        expected: How many alternations there would be in a random order of the same retrains.
        p: Chance of as many in a random order (Wald and Wolfowitz, 1940; exact up to 12
            retrains, by simulation beyond).
    """

    retrains: int
    alternations: int
    expected: float
    p: float


def oscillation(domains: Sequence[int | str], seed: int = 0) -> Oscillation:
    """Measure whether retraining alternates more than a random order would.

    Args:
        domains: The domain of each retrain, in order.
        seed: Of the simulated orders.
    """
    codes = np.unique(np.asarray(domains), return_inverse=True)[1]
    n = len(codes)
    if n < 2:
        return Oscillation(n, 0, 0.0, 1.0)
    alternations = int((np.diff(codes) != 0).sum())
    orders = _orders(codes, seed)
    counts = (np.diff(orders, axis=1) != 0).sum(axis=1)
    return Oscillation(
        n, alternations, float(counts.mean()), float((counts >= alternations).mean())
    )


def _orders(codes: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return all different orders of few codes, random ones of many; the given one among them."""
    n, first = len(codes), codes == codes[0]
    if n <= 12 and len(np.unique(codes)) <= 2:
        masks = np.array(np.meshgrid(*[[0, 1]] * n, indexing="ij")).reshape(n, -1).T
        return np.asarray(masks[masks.sum(axis=1) == first.sum()])
    rng = np.random.default_rng(seed)
    return np.stack([codes, *(rng.permutation(codes) for _ in range(9999))])


@dataclass(frozen=True)
class Hysteresis:
    """Whether a loop remembers where it came from.

    Attributes:
        area: Mean absolute difference between the walk down and the walk up, over the axis.
        largest: The largest of these differences.
        at: Index of the axis value where it is.
        null: What the area is by chance, on average.
        p: Chance of such an area where the direction does not matter.
    """

    area: float
    largest: float
    at: int
    null: float
    p: float


def hysteresis(
    up: ArrayLike, down: ArrayLike, seed: int = 0, permutations: int = 4999
) -> Hysteresis:
    """Compare walks up and down the same axis values, with the state carried over.

    The unit is the walk: within a replicate, which of its two directions is called up is drawn
    anew. With few replicates few labellings exist (2 to the power of their number, halved): p
    cannot be below one over that.

    Args:
        up: Outcomes by replicate and axis value; shape (R, K).
        down: The same of the way back, in the order of the axis and not of time; shape (R, K).
        seed: Of the permutations.
        permutations: How many where not all labellings are tried.
    """
    up_RK, down_RK = np.atleast_2d(np.asarray(up, float)), np.atleast_2d(np.asarray(down, float))
    if up_RK.shape != down_RK.shape:
        raise ValueError(f"walks of shapes {up_RK.shape} and {down_RK.shape}")
    difference_RK = down_RK - up_RK
    mean_K = np.abs(difference_RK.mean(axis=0))
    r = len(difference_RK)
    if r <= 12:
        # The first replicate keeps its sign: turning all of them changes nothing.
        signs = 1 - 2 * ((np.arange(2 ** (r - 1))[:, None] >> np.arange(r)) & 1)
    else:
        signs = np.random.default_rng(seed).choice([-1, 1], size=(permutations, r))
        signs = np.concatenate([np.ones((1, r)), signs])
    areas = np.abs(signs @ difference_RK / r).mean(axis=1)
    area = float(mean_K.mean())
    return Hysteresis(
        area,
        float(mean_K.max()),
        int(mean_K.argmax()),
        float(areas.mean()),
        float((areas >= area - 1e-12).mean()),
    )


def walk(
    outcome: Callable[[float, object], tuple[float, object]],
    values: Sequence[float],
    state: object = None,
) -> tuple[list[float], list[float], object]:
    """Walk an axis up and down again, carrying the state over.

    Args:
        outcome: Runs a while at an axis value from a state; returns the outcome and the new state.
        values: Of the axis, in order.
        state: To begin with.

    Returns:
        Outcomes on the way up; those on the way down, in the order of ``values``; the last state.
    """
    ups, downs = [], []
    for value in values:
        result, state = outcome(value, state)
        ups.append(result)
    for value in reversed(values):
        result, state = outcome(value, state)
        downs.append(result)
    return ups, downs[::-1], state
