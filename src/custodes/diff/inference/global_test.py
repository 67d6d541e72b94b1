"""Is there any difference at all? One permutation test of the whole, over prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from custodes.diff.inference.randomization import Floats, Labels
from custodes.models.base import Array

__all__ = ["Gate", "combine", "mmd"]

FREQUENCIES = 256


@dataclass(frozen=True)
class Gate:
    """The global test.

    Attributes:
        statistic: The smallest of the parts' permutation p-values.
        p: Its own permutation p-value, in [1 / (draws + 1), 1].
        parts: Permutation p-value of each part, by name.
    """

    statistic: float
    p: float
    parts: dict[str, float]


def mmd(
    embedded: Array,
    averaging: tuple[sparse.csr_matrix, sparse.csr_matrix],
    paired: bool,
    labels: Sequence[Labels],
    seed: int,
) -> Floats:
    """Return the squared maximum mean discrepancy under each assignment of labels.

    Gretton et al. (2012) with a Gaussian kernel in random Fourier features (Rahimi & Recht
    2007), so that its cost is linear in the prompts. The width is the median distance.

    Args:
        embedded: Embeddings of the responses, shape (responses, d).
        averaging: Matrices that take responses to prompt means, of A and of B.
        paired: Whether labels are signs (sign flips) or memberships of B.
        labels: Assignments, in parts of shape (prompts, draws) each.
        seed: Of the frequencies.

    Returns:
        Of all parts one after another, shape (draws,).
    """
    rng = np.random.default_rng(seed)
    some = embedded[rng.integers(0, len(embedded), (2, 2000))]
    width = float(np.median(np.linalg.norm(some[0] - some[1], axis=1))) or 1.0
    frequencies = rng.normal(0, 1 / width, (embedded.shape[1], FREQUENCIES)).astype(np.float32)
    angles = embedded @ frequencies
    features = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    a, b = (np.asarray(w @ features) for w in averaging)
    values = b - a if paired else (a + b) - (a + b).mean(axis=0)
    return np.concatenate(
        [((values.T @ part).astype(np.float64) ** 2).sum(axis=0) for part in labels]
    )


def combine(parts: dict[str, tuple[float, NDArray[np.floating]]]) -> Gate:
    """Combine tests that saw the same relabellings, by their smallest p (Tippett 1931).

    The null distribution of the smallest p is read from the same relabellings, so the result
    is exact however the parts depend on each other.

    Args:
        parts: Observed statistic and the draws' statistics (draws,), larger being stranger.
    """
    ranks = []
    for observed, draws in parts.values():
        everything = np.append(draws, observed)
        ordered = np.sort(everything)
        at_least = len(everything) - np.searchsorted(ordered, everything, side="left")
        ranks.append(at_least / len(everything))
    table = np.stack(ranks)
    smallest = table.min(axis=0)
    # Ties of the smallest p are broken by the parts together, so that p stays uniform.
    order = smallest + 1e-6 * np.log(table).mean(axis=0) / np.log(table.shape[1] + 1)
    p = float(np.mean(order <= order[-1] + 1e-15))
    names = parts.keys()
    return Gate(
        float(smallest[-1]), p, dict(zip(names, table[:, -1].astype(float).tolist(), strict=True))
    )
