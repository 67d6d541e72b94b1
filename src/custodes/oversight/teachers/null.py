"""The Teacher that is a control: a run with it shows what changes without any retraining."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from custodes.conversation import PreferencePair
from custodes.oversight.roles import Worker
from custodes.oversight.teachers.preference_pairs import DomainPairs, PreferenceData
from custodes.runs.lineage import Checkpoint

__all__ = ["NullTeacher"]


class NullTeacher:
    """Teaches nothing."""

    def gather(self, worker: Worker, domain: str, step: int, folder: Path) -> PreferenceData:
        """Return no pairs."""
        del worker, step, folder
        return PreferenceData(domain, {domain: DomainPairs([], {"pairs": 0})})

    def train(
        self,
        worker: Worker,
        domain: str,
        step: int,
        folder: Path,
        data: PreferenceData,
        pairs: Sequence[PreferencePair],
    ) -> Checkpoint:
        """Return the checkpoint that the Worker has."""
        del domain, step, folder, data, pairs
        return worker.checkpoint
