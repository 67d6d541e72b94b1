"""Means over several lineages: an interval for other seeds and for other prompts at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from custodes.statistics import Interval

__all__ = ["crossed_mean"]


def crossed_mean(values: ArrayLike, level: float = 0.95) -> Interval:
    """Average over seeds and prompts, both of which are samples.

    The model has two crossed random factors. The variance of the mean adds what the seeds' and the
    prompts' means vary by, less the residual that both contain (Cornfield and Tukey, Annals of
    Mathematical Statistics 27, 1956), and its degrees of freedom are Satterthwaite's (Biometrics
    Bulletin 2, 1946). With three seeds that differ, the interval is wide, and it has to be.

    Args:
        values: Shape (seeds, prompts); the same prompts for all seeds. They may be behaviours or
            statements instead.
        level: Intended coverage, in (0, 1).

    Returns:
        The mean over all values; ``n`` is the number of prompts.

    Raises:
        ValueError: A value is not finite, or there are fewer than two prompts.
    """
    from scipy.stats import t

    x_SP = np.asarray(values, np.float64)
    seeds, prompts = x_SP.shape
    if prompts < 2 or seeds < 1 or not np.isfinite(x_SP).all():
        raise ValueError("a crossed mean needs finite values of two or more prompts")
    mean = float(x_SP.mean())
    by_prompt = float(x_SP.mean(axis=0).var(ddof=1)) / prompts
    if seeds == 1:
        half = float(t.ppf((1 + level) / 2, prompts - 1)) * by_prompt**0.5
        return Interval(mean, mean - half, mean + half, prompts)
    by_seed = float(x_SP.mean(axis=1).var(ddof=1)) / seeds
    left = x_SP - x_SP.mean(axis=0) - x_SP.mean(axis=1)[:, None] + mean
    df = (seeds - 1, prompts - 1, (seeds - 1) * (prompts - 1))
    residual = float((left**2).sum()) / df[2] / (seeds * prompts)
    variance = max(by_seed + by_prompt - residual, by_seed, by_prompt)
    parts = by_seed**2 / df[0] + by_prompt**2 / df[1]
    freedom = max(variance**2 / parts, 1.0) if parts > 0 else df[2]
    half = float(t.ppf((1 + level) / 2, freedom)) * variance**0.5
    return Interval(mean, mean - half, mean + half, prompts)
