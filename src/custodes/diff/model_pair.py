"""The two models of a diff, loaded when a response is missing and checked against the folder."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from custodes.diff.plan import DiffPlan
from custodes.errors import RunError
from custodes.models.base import LanguageModel
from custodes.models.resolve import Engine, load, load_pair
from custodes.progress import Progress, silent
from custodes.runs.folder import RunFolder

__all__ = ["ModelPair"]


class ModelPair:
    """A and B, each None if it is a response file.

    Both are loaded together, so that one engine serves them; at most once, and not at all if no
    response is missing.
    """

    def __init__(
        self, plan: DiffPlan, run: RunFolder, *, engine: Engine, progress: Progress = silent
    ) -> None:
        """Describe the pair; nothing is loaded yet.

        Args:
            plan: Names the models of both sides.
            run: Its log says which weights gave the first responses.
            engine: What serves both models.
            progress: Called before and after loading.
        """
        self._sides, self._run = plan.sides, run
        self._engine, self._progress = engine, progress

    @cached_property
    def served(self) -> dict[str, dict[str, Any]]:
        """Engine and version of each model by letter, as of the folder's first run."""
        event = self._run.log.once("models", self._loaded_now)
        return {letter: event[letter] for letter in "ab" if letter in event}

    def model(self, letter: str) -> LanguageModel:
        """Return a side's model.

        Raises:
            RunError: Its weights or engine have changed since the folder's first run.
            ModelError: It cannot be loaded.
        """
        self._check_unchanged()
        return self._models[letter]

    @cached_property
    def _models(self) -> dict[str, LanguageModel]:
        names = {side.letter: side.model for side in self._sides if side.model is not None}
        if not names:
            return {}
        self._progress("loading models", 0, 1)
        if len(names) == 2:
            pair = load_pair(names["a"], names["b"], engine=self._engine)
            models = dict(zip("ab", pair, strict=True))
        else:
            models = {letter: load(name, engine=self._engine) for letter, name in names.items()}
        self._progress("loading models", 1, 1)
        return models

    def _loaded_now(self) -> dict[str, dict[str, Any]]:
        return {
            letter: {"engine": model.engine, "version": model.version}
            for letter, model in self._models.items()
        }

    def _check_unchanged(self) -> None:
        for letter, now in self._loaded_now().items():
            first = self.served[letter]
            if first != now:
                raise RunError(
                    f"{letter.upper()} was {first['engine']} {first['version']} when "
                    f"{self._run.path} was begun and is {now['engine']} {now['version']} now",
                    "choose another folder with --out, or delete this one",
                )
