"""E-values, which stay valid if they are looked at after every round, and e-BH over many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = [
    "STAKES",
    "BettingProcess",
    "Detectable",
    "always_interval",
    "detectable_drift",
    "e_benjamini_hochberg",
    "receding_log_e",
]

Floats = NDArray[np.float64]

# Bets on either direction and of every size. Spaced like this, the mixture is the one of Krichevsky
# & Trofimov (1981): within half a log of the best single stake, however many prompts there are.
STAKES = np.cos(np.pi * (np.arange(64) + 0.5) / 64)
UPWARD = STAKES[STAKES > 0]

# Means that an interval may end at; it is widened to the next of them.
GRID = np.linspace(-1, 1, 401)
# Simulated lineages for the smallest detectable rise.
LINEAGES = 400


class BettingProcess:
    """Test by betting that a behaviour's mean difference is 0 (Waudby-Smith & Ramdas 2024).

    Every prompt of a round pays ``1 + stake * difference`` on a fair game, differences being in
    [-1, 1] with mean 0 given the past; the capital of an even mixture over ``STAKES`` is then an
    e-process: without a difference its expectation is at most 1 at any stopping time, and the
    probability that it ever reaches 1 / α is at most α (Ville 1939).

    Args:
        behaviours: Number of behaviours.
    """

    def __init__(self, behaviours: int) -> None:
        self._log_capital = np.zeros((behaviours, len(STAKES)))

    def bet(self, differences: sparse.spmatrix) -> Floats:
        """Play a round.

        Args:
            differences: One for each prompt and behaviour, in [-1, 1], of responses that no
                earlier round has used, shape (prompts, behaviours).

        Returns:
            The natural log of each e-value so far, shape (behaviours,).
        """
        matrix = sparse.csc_matrix(differences)
        values, kind = np.unique(matrix.data.astype(float), return_inverse=True)
        # There are few distinct values, and a payoff depends on the value alone: count them.
        behaviour = np.repeat(np.arange(matrix.shape[1]), np.diff(matrix.indptr))
        size = max(1, len(values))
        counts = np.bincount(behaviour * size + kind, minlength=matrix.shape[1] * size)
        payoffs_VS = np.log1p(np.outer(values, STAKES))
        self._log_capital += counts.reshape(-1, size)[:, : len(values)] @ payoffs_VS
        return _log_mean(self._log_capital)


def e_benjamini_hochberg(log_e: Floats, fdr: float) -> NDArray[np.bool_]:
    """Reject by e-values under any dependence (Wang & Ramdas 2022).

    Args:
        log_e: Natural logs of e-values, shape (k,).
        fdr: Level.

    Returns:
        Which are rejected, shape (k,).
    """
    k = len(log_e)
    ordered = np.sort(log_e)[::-1]
    enough = np.flatnonzero(ordered + np.log(np.arange(1, k + 1)) >= np.log(k / fdr))
    if not len(enough):
        return np.zeros(k, np.bool_)
    rejected: NDArray[np.bool_] = log_e >= ordered[enough[-1]]
    return rejected


def always_interval(differences: Floats, alpha: float) -> tuple[float, float]:
    """Bound a mean by the bets it would win (Waudby-Smith & Ramdas 2024).

    Every mean against which the capital of the same mixture stays below 1 / α is kept. It holds for
    the prompts' average at any sample size, also where prompts differ in their means.

    Args:
        differences: One for each prompt, in [-1, 1], shape (n,).
        alpha: Probability with which it may miss, in (0, 1).

    Returns:
        Its two ends, in [-1, 1], rounded outwards to 1/200.
    """
    values, times = np.unique(differences, return_counts=True)
    return _interval(tuple(values.tolist()), tuple(times.tolist()), alpha)


@lru_cache(maxsize=4096)
def _interval(
    distinct: tuple[float, ...], counts: tuple[int, ...], alpha: float
) -> tuple[float, float]:
    """Bound the mean of distinct values with counts; cached, as many behaviours have the same."""
    values, times = np.array(distinct), np.array(counts)
    # The stakes shrink so that no bet can lose more than the capital: |x - m| <= 1 + |m|.
    stakes_MS = STAKES / (1 + np.abs(GRID))[:, None]
    payoff_MV = values[None, :] - GRID[:, None]
    capital_MS = np.log1p(stakes_MS[:, :, None] * payoff_MV[:, None, :]) @ times
    kept = np.flatnonzero(_log_mean(capital_MS) < -np.log(alpha))
    step = GRID[1] - GRID[0]
    if not len(kept):
        # The mean lies between two grid points that are both refuted.
        centre = float(values @ times / times.sum())
        return max(-1.0, centre - step), min(1.0, centre + step)
    return max(-1.0, float(GRID[kept[0]] - step)), min(1.0, float(GRID[kept[-1]] + step))


def receding_log_e(differences: Sequence[Floats]) -> float:
    """Return evidence that the last generation is nearer to the first than an earlier one was.

    Bets that the mean fell, from each earlier generation to the last, averaged over the earlier
    ones: against "it is nowhere below where it has been" this is an e-value, since an average of
    e-values is one.

    Args:
        differences: For each generation, one for each prompt, in [-1, 1], towards the drift's side.

    Returns:
        The natural log of the e-value.
    """
    *earlier, last = differences
    logs = []
    for before in earlier:
        fall = (before - last) / 2
        logs.append(float(_log_mean(np.log1p(np.outer(UPWARD, fall)).sum(axis=1)[None])[0]))
    return float(_log_mean(np.array([logs]))[0])


@dataclass(frozen=True)
class Detectable:
    """The smallest rise that is detected with 80% power.

    Attributes:
        rate: Rate at which the first generation shows a behaviour, in [0, 1].
        rise: The rise, from the second generation on; None where no rise has that power.
    """

    rate: float
    rise: float | None


def detectable_drift(
    prompts: int, rounds: int, threshold: float, rates: Sequence[float] = (0.02, 0.1, 0.3)
) -> list[Detectable]:
    """Simulate lineages with a rise, one response a prompt, drawn independently on both sides.

    Args:
        prompts: Prompts in each round.
        rounds: Generations after the first.
        threshold: Natural log of the e-value that is needed.
        rates: Rates of the first generation.
    """
    rng = np.random.default_rng(0)
    detectable = []
    for rate in rates:
        smallest = None
        for rise in np.arange(0.02, 1 - rate + 1e-9, 0.02):
            up, down = (rate + rise) * (1 - rate), rate * max(1 - rate - rise, 0.0)
            n = np.full((LINEAGES,), prompts * rounds)
            ups = rng.binomial(n, up)
            downs = rng.binomial(n - ups, min(1.0, down / max(1 - up, 1e-12)))
            capital = np.outer(ups, np.log1p(STAKES)) + np.outer(downs, np.log1p(-STAKES))
            if float((_log_mean(capital) >= threshold).mean()) >= 0.8:
                smallest = round(float(rise), 2)
                break
        detectable.append(Detectable(rate, smallest))
    return detectable


def _log_mean(logs: Floats) -> Floats:
    """Return the log of the mean of exponentials, along the last axis."""
    top = logs.max(axis=-1)
    mean: Floats = top + np.log(np.exp(logs - top[..., None]).mean(axis=-1))
    return mean
