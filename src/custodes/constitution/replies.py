"""Replies of models, kept batch by batch, so that a killed stage pays for none of them twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from custodes.conversation import Chat
from custodes.models.base import LanguageModel, Sampling
from custodes.progress import Progress, silent
from custodes.runs.files import dumps
from custodes.runs.log import Log
from custodes.seeds import derive

__all__ = ["BATCH", "Replies"]

BATCH = 64
"""Chats in one call of a model. Batches are fixed, so that a resumed stage has the same ones.

A kill loses at most one of them. Engines sample many at once: smaller batches take longer in all.
"""


class Replies:
    """Replies in a folder, one file for each purpose.

    Attributes:
        folder: The folder.
    """

    def __init__(self, folder: Path, progress: Progress = silent) -> None:
        self.folder, self._progress = folder, progress

    def texts(
        self,
        purpose: str,
        load: Callable[[], LanguageModel],
        name: str,
        chats: Sequence[Chat],
        sampling: Sampling,
    ) -> list[list[str]]:
        """Answer each chat ``sampling.n`` times; what is in the file is not asked again.

        Args:
            purpose: Names the file and the progress.
            load: Loads the model; called only if a batch is missing.
            name: Tells the model's weights from others within this run.
            chats: The chats.
            sampling: How to sample; each batch has a seed of its own.
        """

        def call(batch: Sequence[Chat], seed: int) -> list[list[str]]:
            return load().generate(batch, sampling.seeded(seed))

        key = [name, asdict(sampling)]
        rows: list[list[str]] = self.batches(purpose, key, chats, sampling.seed, call)
        return rows

    def batches(
        self,
        purpose: str,
        key: Sequence[Any],
        chats: Sequence[Any],
        seed: int,
        call: Callable[[Sequence[Any], int], list[Any]],
        *,
        size: int = BATCH,
    ) -> list[Any]:
        """Compute one JSON-ready value for each item, batch by batch.

        Args:
            purpose: Names the file and the progress.
            key: What the values depend on, beside the items: values under another key are dropped.
            chats: The items, JSON-ready.
            seed: Seeds the batches.
            call: From the items of a batch and its seed to their values.
            size: Items in a batch.
        """
        path = self.folder / f"{purpose}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        values: list[Any] = []
        with Log(path) as log:
            for number, start in enumerate(range(0, len(chats), size)):
                self._progress(purpose, start, len(chats))
                batch = list(chats[start : start + size])
                digest = _digest([*key, batch])
                if number < len(log.rows) and log.rows[number]["key"] != digest:
                    log.keep(number)
                if number >= len(log.rows):
                    # The same seed for all batches would draw the same numbers in each.
                    made = call(batch, derive(seed, "batch", number))
                    log.append([{"key": digest, "values": made}])
                values += log.rows[number]["values"]
        self._progress(purpose, len(chats), len(chats))
        return values


def _digest(value: Any) -> str:
    return hashlib.sha256(dumps(value).encode()).hexdigest()[:24]
