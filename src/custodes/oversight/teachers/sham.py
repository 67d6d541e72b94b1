"""The Teacher that is a control: it trains as much, on pairs that chance put in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from custodes.conversation import PreferencePair
from custodes.oversight.roles import Teacher, Worker
from custodes.oversight.teachers.preference_pairs import PreferenceData
from custodes.runs.lineage import Checkpoint
from custodes.seeds import derive

__all__ = ["ShamTeacher"]


@dataclass(frozen=True)
class ShamTeacher:
    """Trains like another Teacher, but a coin decides which answer of a pair is the chosen one.

    What a Worker gains from it is not due to the ratings: training on one's own answers alone can
    change a gold score.

    Attributes:
        teacher: Gathers the pairs and trains.
        seed: Tosses the coins.
    """

    teacher: Teacher
    seed: int = 0

    def gather(self, worker: Worker, domain: str, step: int, folder: Path) -> PreferenceData:
        """Gather the other Teacher's pairs and put each in random order."""
        data = self.teacher.gather(worker, domain, step, folder)
        rng = np.random.default_rng(derive(self.seed, "sham", step))
        return replace(
            data,
            by_domain={
                name: replace(own, pairs=[_tossed(pair, rng) for pair in own.pairs])
                for name, own in data.by_domain.items()
            },
        )

    def train(
        self,
        worker: Worker,
        domain: str,
        step: int,
        folder: Path,
        data: PreferenceData,
        pairs: Sequence[PreferencePair],
    ) -> Checkpoint:
        """Train as the other Teacher does."""
        return self.teacher.train(worker, domain, step, folder, data, pairs)


def _tossed(pair: PreferencePair, rng: np.random.Generator) -> PreferencePair:
    swap = bool(rng.integers(2))
    return replace(pair, chosen=pair.rejected, rejected=pair.chosen) if swap else pair
