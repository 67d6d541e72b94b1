"""The Worker: a base model plus LoRA, which answers in batches on its fast engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from custodes.conversation import Query, Response
from custodes.models import LanguageModel, Sampling
from custodes.models.base import Usage
from custodes.models.memory import release_memory
from custodes.models.resolve import Engine, load, split_adapter
from custodes.models.simulated import SimulatedModel
from custodes.oversight.perturbations.jailbreaks import origin
from custodes.runs.lineage import Checkpoint

__all__ = ["BASE", "ModelWorker"]

BASE = Checkpoint(0, None, None, "base")


class ModelWorker:
    """A Worker made of any model custodes can name.

    Attributes:
        name: The base model's name.
        sampling: How it samples; its seed and ``n`` come with each batch.
        engine: The engine that serves it; ``auto`` takes the fastest that can.
    """

    def __init__(
        self,
        name: str,
        sampling: Sampling,
        *,
        engine: Engine = "auto",
        checkpoint: Checkpoint = BASE,
    ) -> None:
        self.name = name
        self.sampling = sampling
        self.engine = engine
        self._checkpoint = checkpoint
        self._spent = Usage()

    @property
    def checkpoint(self) -> Checkpoint:
        """The weights that answer now."""
        return self._checkpoint

    @cached_property
    def _named(self) -> tuple[str, Path | None]:
        # Once: a name on the hub is looked up there.
        return split_adapter(self.name)

    @property
    def base(self) -> str:
        """Name of the model that is trained, without the adapter that ``name`` may bring."""
        return self._named[0]

    @property
    def adapter(self) -> Path | None:
        """The adapter that answers now; None where the base answers alone."""
        return self._checkpoint.adapter or self._named[1]

    @cached_property
    def serving(self) -> LanguageModel:
        """The model on its fast engine, loaded when first asked: a replayed run needs none."""
        return load(
            self.name,
            engine=self.engine,
            adapter=self._checkpoint.adapter,
            like_checkpoints=True,
        )

    @property
    def version(self) -> str:
        """The serving model's version."""
        return self.serving.version

    @property
    def usage(self) -> Usage:
        """What serving has cost; a model that was let go still counts."""
        model: LanguageModel | None = self.__dict__.get("serving")
        return Usage.sum([self._spent, *([model.usage] if model else [])])

    def respond(self, queries: Sequence[Query], seed: int) -> list[Response]:
        """Answer in one batch; every answer has the version of the model that wrote it."""
        texts = self.samples(queries, 1, seed)
        number, version = self._checkpoint.number, self.version
        return [Response(answers[0], number, version) for answers in texts]

    def samples(self, queries: Sequence[Query], n: int, seed: int) -> list[list[str]]:
        """Answer each query ``n`` times."""
        sampling = replace(self.sampling, n=n, seed=seed)
        chats = [query.chat for query in queries]
        if isinstance(self.serving, SimulatedModel):
            # It reads no text: what a jailbreak does to it, it must be told.
            wrapped = [origin(query.id) != query.id for query in queries]
            return self.serving.generate(chats, sampling, wrapped=wrapped)
        return self.serving.generate(chats, sampling)

    def release(self) -> None:
        """Let the model go; it is loaded again if somebody asks this Worker once more."""
        self._spent = self.usage
        model = self.__dict__.pop("serving", None)
        heavy = model is not None and not isinstance(model, SimulatedModel)
        del model
        if heavy:
            release_memory()

    def at(self, checkpoint: Checkpoint) -> ModelWorker:
        """Return this Worker with other weights."""
        return ModelWorker(self.name, self.sampling, engine=self.engine, checkpoint=checkpoint)
