"""A lower confidence bound for the mean of bounded ratings, sound at any sample size.

Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
JRSS B 86(1), 2024, section 4 (the capital process) and their equation 26 (the bets).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["lower_bound"]

GRID = 1000
LARGEST_BET = 0.75


def lower_bound(values: ArrayLike, alpha: float = 0.05) -> float:
    """Bound the mean of independent values in [0, 1] from below.

    Unlike a Student-t bound it holds for every distribution on [0, 1] and every n, and it goes on
    holding when one looks after each value. No values give 0.

    Args:
        values: Shape (n,), each in [0, 1].
        alpha: Probability with which the bound may lie above the mean, in (0, 1).

    Returns:
        The bound, in [0, 1], rounded down to the grid of 1/1000.
    """
    x_N = np.asarray(values, dtype=np.float64)
    n = len(x_N)
    if n == 0:
        return 0.0
    # 1. Regularised running mean and variance, each known before the next value is seen.
    count_N = np.arange(1, n + 1)
    mean_N = (0.5 + np.cumsum(x_N)) / (count_N + 1)
    variance_N = (0.25 + np.cumsum((x_N - mean_N) ** 2)) / (count_N + 1)
    known_N = np.concatenate(([0.25], variance_N[:-1]))
    # 2. Bets tuned for a sample of size n.
    bet_N = np.sqrt(2 * np.log(1 / alpha) / (n * known_N))
    # 3. The capital of a gambler who bets that the mean is above m, for each m on a grid.
    m_G = np.arange(1, GRID) / GRID
    stake_GN = np.minimum(bet_N[None, :], LARGEST_BET / m_G[:, None])
    capital_GN = np.cumsum(np.log1p(stake_GN * (x_N[None, :] - m_G[:, None])), axis=1)
    # 4. Ville's inequality: a mean under which the gambler ever got 1/alpha times as rich is out.
    refuted_G = capital_GN.max(axis=1) >= np.log(1 / alpha)
    return float(m_G[refuted_G].max()) if refuted_G.any() else 0.0
