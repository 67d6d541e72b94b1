"""The smallest rise that a diff finds with 80% power, by the thresholds of its own search.

The rise is that of a word or phrase in B's responses. A finding needs `LEAST` prompts that moved,
and a score at which the family of words expects at most ``fdr`` false findings. Both are taken from
the diff itself, so that with few prompts the answer may be that nothing can be found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custodes.diff.inference.hypotheses import FAMILIES, LEAST
from custodes.diff.inference.null import Null
from custodes.diff.inference.randomization import Floats, normal_scores

__all__ = ["Detectable", "Sizes", "detectable", "detectable_rises"]

BASES = (0.0, 0.05, 0.2)
POWER = 0.8
STEP = 0.002
FAMILY = FAMILIES.index("word")
# Data sets in a simulation, and the steps of its bisection.
SIMULATED, STEPS = 400, 9


@dataclass(frozen=True)
class Detectable:
    """The smallest rise of a word or phrase that a diff of this size finds with 80% power.

    Attributes:
        base: A's rate.
        rise: B's rate minus A's, or None where no rise has that power.
    """

    base: float
    rise: float | None


@dataclass(frozen=True)
class Sizes:
    """Size of a diff.

    Attributes:
        a: Prompts that A answered.
        b: Prompts that B answered.
        samples_a: Responses of A to a prompt.
        samples_b: Responses of B to a prompt.
        paired: Whether both answered the same prompts.
    """

    a: int
    b: int
    samples_a: int = 1
    samples_b: int = 1
    paired: bool = True


def detectable_rises(sizes: Sizes, null: Null, fdr: float) -> tuple[Detectable, ...]:
    """Return the smallest rises for behaviours that A shows never, sometimes and often.

    Args:
        sizes: Size of the diff.
        null: The diff's null distribution.
        fdr: False findings to tolerate.
    """
    # A word that only B uses would be one hypothesis more.
    score = null.threshold(FAMILY, fdr, extra=1)
    if sizes.paired and sizes.samples_a == sizes.samples_b == 1:
        rises = [detectable(sizes.a, score, base) for base in BASES]
    else:
        rises = [_simulated(sizes, score, base) for base in BASES]
    return tuple(Detectable(base, rise) for base, rise in zip(BASES, rises, strict=True))


def detectable(n: int, score: float, base: float, power: float = POWER) -> float | None:
    """Return the smallest rise of a rate that is a finding with some power.

    Args:
        n: Prompts, answered once by each side, each independently.
        score: −log10 of the p that a finding needs.
        base: A's rate, in [0, 1).
        power: Probability that the rise is a finding, in (0, 1).

    Returns:
        The rise in rate, or None where even the largest has less power.
    """
    from scipy import stats

    # Of d discordant prompts, so many must move one way; more than all of them if d is too small.
    discordant = np.arange(n + 1)
    least = np.asarray(stats.binom.isf(10.0**-score / 2, discordant, 0.5)) + 1
    least[:LEAST] = n + 1
    rises = np.append(np.arange(STEP, 1 - base, STEP), 1 - base)
    low, high = 0, len(rises)
    while low < high:
        middle = (low + high) // 2
        rise = rises[middle]
        up, down = (base + rise) * (1 - base), base * max(1 - base - rise, 0)
        # Given d discordant prompts, those that moved up are binomial; d itself is, too.
        fewest, most = (int(stats.binom.ppf(q, n, up + down)) for q in (1e-6, 1 - 1e-6))
        d = np.arange(fewest, most + 1)
        weight = stats.binom.pmf(d, n, up + down)
        detected = stats.binom.sf(least[d] - 1, d, up / (up + down))
        if float(weight @ detected) >= power:
            high = middle
        else:
            low = middle + 1
    return float(rises[low]) if low < len(rises) else None


def _simulated(sizes: Sizes, score: float, base: float) -> float | None:
    """Find the rise by bisection; every step simulates the same data sets."""
    low, high = 0.0, 1 - base
    if _power(sizes, score, base, high) < POWER:
        return None
    for _ in range(STEPS):
        middle = (low + high) / 2
        if _power(sizes, score, base, middle) < POWER:
            low = middle
        else:
            high = middle
    return high


def _power(sizes: Sizes, score: float, base: float, rise: float) -> float:
    rng = np.random.default_rng(0)
    a = rng.binomial(sizes.samples_a, base, (SIMULATED, sizes.a)) / sizes.samples_a
    b = rng.binomial(sizes.samples_b, min(base + rise, 1), (SIMULATED, sizes.b)) / sizes.samples_b
    z, enough = _paired_z(b - a) if sizes.paired else _relabelled_z(a, b)
    found = (normal_scores(np.maximum(z, 0)) >= score) & enough
    return float(found.mean())


def _paired_z(differences: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    norm = np.sqrt((differences**2).sum(axis=1))
    moved = (differences != 0).sum(axis=1)
    return differences.sum(axis=1) / np.maximum(norm, 1e-12), moved >= LEAST


def _relabelled_z(a: Floats, b: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    n = a.shape[1] + b.shape[1]
    both = np.concatenate([a, b], axis=1)
    spread = both.var(axis=1) * n
    variance = spread * a.shape[1] * b.shape[1] / (n * max(n - 1, 1))
    excess = b.sum(axis=1) - both.mean(axis=1) * b.shape[1]
    shown = (both != 0).sum(axis=1)
    return excess / np.sqrt(np.maximum(variance, 1e-12)), shown >= LEAST
