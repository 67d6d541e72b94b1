"""When to stop: gold falls beyond noise while the reward rises (over-optimisation).

Gao, Schulman & Hilton 2022, arXiv:2210.10760: the reward of a proxy goes on rising with the KL
divergence while the gold score passes its peak. A difference is noise until a one-sided paired test
over prompts says otherwise. The best of several noisy evaluations is too good by chance, and there
are many looks: the level is shared out over all pairs of evaluations that could be compared, in a
training of any length (a union bound; Σ 1 / m² = π² / 6).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from custodes.statistics import paired_change
from custodes.training.rl.result import Evaluation

__all__ = ["best_evaluation", "overoptimised"]


def best_evaluation(evaluations: Sequence[Evaluation]) -> int:
    """Return the index of the evaluation whose checkpoint is kept: the best gold, else the last."""
    golds = [one.gold for one in evaluations]
    if any(gold is None for gold in golds):
        return len(evaluations) - 1
    return max(range(len(golds)), key=lambda i: (golds[i], -i))


def overoptimised(evaluations: Sequence[Evaluation], level: float) -> str:
    """Say why to stop after the last of these evaluations, or "".

    Args:
        evaluations: Oldest first, over the same prompts, with gold scores.
        level: Probability, at most, of ever stopping a training whose gold does not fall.
    """
    if len(evaluations) < 2 or len(evaluations[-1].gold_by_prompt) < 2:
        return ""
    best, last = evaluations[best_evaluation(evaluations)], evaluations[-1]
    if last.reward <= best.reward or last is best:
        return ""
    change = paired_change(best.gold_by_prompt, last.gold_by_prompt)
    earlier = len(evaluations) - 1
    if change.p_fall > level * 6 / math.pi**2 / earlier**3:
        return ""
    return (
        f"stopped after step {last.step}: gold fell by {-change.mean:.3g} since step {best.step} "
        f"(p = {change.p_fall:.2g} over {change.n} prompts) while the reward rose by "
        f"{last.reward - best.reward:.3g}"
    )
