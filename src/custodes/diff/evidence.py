"""Evidence that may be looked at after every round: e-processes, and which of many to believe."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["BettingProcess", "e_benjamini_hochberg"]

Floats = NDArray[np.float64]

# Bets on either direction and of every size: the stake lost is at most this share.
STAKES = np.concatenate([-np.geomspace(0.02, 0.98, 20)[::-1], np.geomspace(0.02, 0.98, 20)])


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
        for j in range(columns.shape[1]):
            values = columns.data[columns.indptr[j] : columns.indptr[j + 1]].astype(float)
            self._log_capital[j] += np.log1p(np.outer(STAKES, values)).sum(axis=1)
        top = self._log_capital.max(axis=1)
        mean: Floats = np.exp(self._log_capital - top[:, None]).mean(axis=1)
        log_e: Floats = top + np.log(mean)
        return log_e


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
