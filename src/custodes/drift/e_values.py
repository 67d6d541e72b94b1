"""Evidence that may be looked at after every round: e-processes, and which of many to believe."""

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
# Simulated lineages for what could have been found.
LINEAGES = 400


class BettingProcess:
    """Testing by betting that a behaviour's mean difference is 0 (Waudby-Smith & Ramdas 2024).

    Every prompt of a round pays ``1 + stake * difference`` on a fair game, differences being in
    [-1, 1] with mean 0 given the past; the capital of an even mixture over ``STAKES`` is then an
    e-process: whenever one stops to look, its expectation under no difference is at most 1, and
    the probability that it ever reaches 1 / α is at most α (Ville 1939).

    Args:
        behaviours: How many run side by side.
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
        columns = sparse.csc_matrix(differences)
        values, kind = np.unique(columns.data.astype(float), return_inverse=True)
        # Few values are different, and a prompt's payoff depends on its value alone: count them.
        column = np.repeat(np.arange(columns.shape[1]), np.diff(columns.indptr))
        size = max(1, len(values))
        counts = np.bincount(column * size + kind, minlength=columns.shape[1] * size)
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
    given: tuple[float, ...], counts: tuple[int, ...], alpha: float
) -> tuple[float, float]:
    """Bound the mean of values that came so many times: many behaviours have the same counts."""
    values, times = np.array(given), np.array(counts)
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
    """Weigh the evidence that the last generation is nearer to the first than an earlier one was.

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
    """What could have been found.

    Attributes:
        rate: At which the first generation shows a behaviour, in [0, 1].
        rise: Smallest rise, there from the second generation on, of which four of five such
            lineages would have become certain; None where they would of none.
    """

    rate: float
    rise: float | None


def detectable_drift(
    prompts: int, rounds: int, threshold: float, rates: Sequence[float] = (0.02, 0.1, 0.3)
) -> list[Detectable]:
    """Simulate lineages with a rise, one response a prompt, drawn independently on both sides.

    Args:
        prompts: Asked in each round.
        rounds: Generations after the first.
        threshold: Natural log of the e-value that is needed.
        rates: Of the first generation.
    """
    rng = np.random.default_rng(0)
    found = []
    for rate in rates:
        hit = None
        for rise in np.arange(0.02, 1 - rate + 1e-9, 0.02):
            up, down = (rate + rise) * (1 - rate), rate * max(1 - rate - rise, 0.0)
            n = np.full((LINEAGES,), prompts * rounds)
            ups = rng.binomial(n, up)
            downs = rng.binomial(n - ups, min(1.0, down / max(1 - up, 1e-12)))
            capital = np.outer(ups, np.log1p(STAKES)) + np.outer(downs, np.log1p(-STAKES))
            if float((_log_mean(capital) >= threshold).mean()) >= 0.8:
                hit = round(float(rise), 2)
                break
        found.append(Detectable(rate, hit))
    return found


def _log_mean(logs: Floats) -> Floats:
    """Return the log of the mean of exponentials, along the last axis."""
    top = logs.max(axis=-1)
    mean: Floats = top + np.log(np.exp(logs - top[..., None]).mean(axis=-1))
    return mean
