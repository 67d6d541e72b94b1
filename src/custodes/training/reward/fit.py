"""Fit a reward model, with the twins and controls that would expose one that learnt nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custodes.control import Control
from custodes.conversation import PreferencePair
from custodes.progress import Progress, silent
from custodes.statistics import Interval
from custodes.training.reward.model import RewardModel
from custodes.training.reward.options import RewardOptions

__all__ = ["RewardResult", "fit_reward"]


@dataclass(frozen=True)
class RewardResult:
    """A fitted reward model and what was measured on prompts that it never saw.

    Attributes:
        model: The model.
        folder: Where it is kept: adapter, head (safetensors) and ``card.json``.
        accuracy: Held-out accuracy, with its interval over prompts.
        twins: Held-out accuracy of "length" and "shuffled".
        calibration: ``ece`` (expected calibration error) before and after scaling, ``table``.
        series: By name, a figure for each step: ``loss``, ``accuracy``, ``grad_norm``.
        controls: What would have exposed a model that learnt nothing.
    """

    model: RewardModel
    folder: Path
    accuracy: Interval
    twins: Mapping[str, Interval]
    calibration: Mapping[str, Any]
    series: Mapping[str, Sequence[float]]
    controls: Sequence[Control]

    def metrics(self) -> dict[str, Any]:
        """Return what is deterministic, JSON-ready; the controls apart."""
        raise NotImplementedError


def fit_reward(
    pairs: Sequence[PreferencePair],
    base: str,
    folder: Path,
    settings: RewardOptions,
    *,
    progress: Progress = silent,
) -> RewardResult:
    """Fit a reward model on preferences; Bradley-Terry with margins and soft labels.

    A model that is complete in ``folder`` with the same pairs and settings is loaded, not fitted
    again.

    Args:
        pairs: `RewardPair`s, or plain pairs, which are sure and have no margin.
        base: Name of the base model, as everywhere (`custodes.models.resolve.parse`); an adapter's
            folder starts from that adapter's weights, merged in.
        folder: Where the model is written.
        settings: The options.
        progress: Called after each step.

    Raises:
        DataError: A pair is malformed, or too few prompts are left to hold any out.
        CustodesError: The loss stopped being a number.
    """
    raise NotImplementedError
