"""A language model whose replies are kept in a file, so that none is computed or paid for twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from custodes.conversation import Chat
from custodes.models.base import LanguageModel, Sampling, Usage
from custodes.progress import Progress, silent
from custodes.runs.files import dumps
from custodes.runs.log import Log

__all__ = ["CachedModel"]

BATCH = 8
"""Chats in one call of the model; a killed process loses at most the replies of one call."""


class CachedModel:
    """Answers from a file where it can, and loads the model only for the rest.

    A reply is kept under the model's version, the chat and the sampling. The model's name is no
    part of that: another model under the same name has its own replies.

    Attributes:
        name: The model's name.
        engine: The model's engine; "cached" as long as the model is not loaded.
        version: Version of the model's weights.
        usage: Costs of the model since it was loaded.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], LanguageModel],
        path: Path,
        *,
        version: str | None = None,
        label: str = "",
        progress: Progress = silent,
    ) -> None:
        """Open the file of replies.

        Args:
            name: The model's name.
            load: Loads the model; called at most once.
            path: The file; created if it does not exist.
            version: Version of the weights, if it is known without loading them (see
                `custodes.models.resolve.version_of`). Otherwise the model is loaded at once.
            label: Name of the task in the progress display; the model's name by default.
            progress: Called after every batch.
        """
        self.name, self._load, self._path = name, load, path
        self._label, self._progress = label or name, progress
        self._model: LanguageModel | None = None
        self.engine, self.usage = "cached", Usage()
        self.version = self._loaded().version if version is None else version
        with Log(path) as log:
            self._replies: dict[str, list[str]] = {row["key"]: row["texts"] for row in log.rows}

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
        """Answer each chat ``sampling.n`` times (see `LanguageModel.generate`).

        Equal chats in one call get equal answers.
        """
        keys = [_key(self.version, chat, sampling) for chat in chats]
        missing = {k: c for k, c in zip(keys, chats, strict=True) if k not in self._replies}
        queue, total = list(missing), len(set(keys))
        self._progress(self._label, total - len(queue), total)
        with Log(self._path) as log:
            for start in range(0, len(queue), BATCH):
                batch = queue[start : start + BATCH]
                texts = self._loaded().generate([missing[key] for key in batch], sampling)
                replies = dict(zip(batch, texts, strict=True))
                log.append([{"key": key, "texts": row} for key, row in replies.items()])
                self._replies |= replies
                self._progress(self._label, total - len(queue) + start + len(batch), total)
        return [list(self._replies[key]) for key in keys]

    def _loaded(self) -> LanguageModel:
        if self._model is None:
            self._model = self._load()
            self.engine, self.usage = self._model.engine, self._model.usage
        return self._model


def _key(version: str, chat: Chat, sampling: Sampling) -> str:
    request = [version, [dict(message) for message in chat], asdict(sampling)]
    return hashlib.sha256(dumps(request).encode()).hexdigest()[:32]
