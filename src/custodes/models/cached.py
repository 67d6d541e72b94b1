"""A model whose answers are kept in a file: a killed process pays for none of them twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from custodes.conversation import Chat
from custodes.models.base import LanguageModel, Sampling, Usage
from custodes.progress import Progress, silent
from custodes.runs.files import dumps
from custodes.runs.rows import RowFile

__all__ = ["RememberedModel"]

BATCH = 8


class RememberedModel:
    """Asks a model in batches, and writes every batch of answers down before the next.

    What is in the file is never asked again, and where all is, the model is not even loaded.

    Attributes:
        name: The model's name.
        engine: The model's engine; "remembered" as long as it is not loaded.
        version: The model's version; "" as long as it is not loaded.
        usage: What was spent since it was loaded.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], LanguageModel],
        path: Path,
        *,
        what: str = "",
        progress: Progress = silent,
    ) -> None:
        """Open the file.

        Args:
            name: The model's name; part of what an answer is remembered by.
            load: Gives the model.
            path: The file; made if it is not there.
            what: What progress is told.
            progress: Told after every batch.
        """
        self.name, self._load, self._path = name, load, path
        self._what, self._progress = what or name, progress
        self._model: LanguageModel | None = None
        self.engine, self.version, self.usage = "remembered", "", Usage()
        with RowFile(path) as file:
            self._known: dict[str, list[str]] = {row["asked"]: row["said"] for row in file.rows}

    def _loaded(self) -> LanguageModel:
        if self._model is None:
            self._model = self._load()
            self.engine, self.version = self._model.engine, self._model.version
            self.usage = self._model.usage
        return self._model

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
        """Answer each chat ``sampling.n`` times (see `LanguageModel.generate`).

        Equal chats of one call have equal answers.
        """
        keys = [_key(self.name, chat, sampling) for chat in chats]
        todo = {k: c for k, c in zip(keys, chats, strict=True) if k not in self._known}
        left, total = list(todo), len(set(keys))
        self._progress(self._what, total - len(left), total)
        with RowFile(self._path) as file:
            for at in range(0, len(left), BATCH):
                batch = left[at : at + BATCH]
                said = self._loaded().generate([todo[key] for key in batch], sampling)
                file.append([{"asked": k, "said": s} for k, s in zip(batch, said, strict=True)])
                self._known.update(zip(batch, said, strict=True))
                self._progress(self._what, total - len(left) + at + len(batch), total)
        return [list(self._known[key]) for key in keys]


def _key(name: str, chat: Chat, sampling: Sampling) -> str:
    asked: Any = [name, [dict(message) for message in chat], asdict(sampling)]
    return hashlib.sha256(dumps(asked).encode()).hexdigest()[:32]
