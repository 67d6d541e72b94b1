"""The generations of a lineage: out of a run folder, or out of models in order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from custodes.errors import DataError, ModelError, RunError
from custodes.models.base import LanguageModel
from custodes.models.cache import file_sha256
from custodes.models.resolve import Engine, ModelRef, load, load_torch, parse
from custodes.runs.lineage import read_lineage
from custodes.text import one_line

if TYPE_CHECKING:
    from custodes.models.torch import TorchModel

__all__ = ["Generation", "Lineage", "read_generations"]


@dataclass(frozen=True)
class Generation:
    """One model of a lineage.

    Attributes:
        number: Its place, the first being 0.
        label: What reports call it.
        model: Name in the models room.
        adapter: PEFT folder on that model, None for the model as it is.
        parent: Number of the generation that it came from, None for the first.
        made_by: What made it, "" where nobody says.
        weights: Hash of the files that are here, "" where there are none (a hub id, an endpoint).
    """

    number: int
    label: str
    model: str
    adapter: Path | None
    parent: int | None
    made_by: str
    weights: str

    def about(self) -> dict[str, Any]:
        """Describe it, JSON-ready; the same for the same weights."""
        return {
            "generation": self.number,
            "name": self.label,
            "parent": self.parent,
            "made_by": self.made_by,
            "weights": self.weights,
        }


@dataclass(frozen=True)
class Lineage:
    """Generations in order, and how they are served.

    Attributes:
        name: What reports call it.
        generations: At least two, the first being what the others are held against.
        settings: Of the run's Worker (``max_tokens``, ``temperature``, ``top_p``, ``engine``), as
            far as there was one.
        trained: Whether some are adapters: then all are served as checkpoints are (see `load`).
    """

    name: str
    generations: tuple[Generation, ...]
    settings: dict[str, Any]
    trained: bool

    def load(self, number: int, engine: Engine) -> LanguageModel:
        """Load a generation on its fast engine.

        Raises:
            ModelError: It cannot be loaded or served.
        """
        one = self.generations[number]
        if engine == "auto":
            engine = cast(Engine, self.settings.get("engine", "auto"))
        return load(one.model, engine=engine, adapter=one.adapter, like_checkpoints=self.trained)

    def load_torch(self, number: int) -> TorchModel:
        """Load a generation to read its hidden states.

        Raises:
            ModelError: Its weights are not here, or torch cannot load them.
        """
        one = self.generations[number]
        return load_torch(one.model, adapter=one.adapter)


def read_generations(sources: Sequence[str]) -> Lineage:
    """Read a lineage.

    Args:
        sources: One run folder, or two or more models in order (bundled names, hub ids, folders,
            PEFT folders, .gguf files, endpoints).

    Raises:
        RunError: The run has one generation only, or one of its checkpoints is gone.
        DataError: There is one model only, or adapters have different bases.
        ModelError: A source is neither a run nor a model.
    """
    runs = [source for source in sources if (Path(source) / "events.jsonl").is_file()]
    if not sources:
        raise DataError("no generations", "name a run folder, or two or more models in order")
    if len(sources) == 1 and runs:
        return _of_run(Path(sources[0]))
    if runs:
        raise DataError(
            f"{one_line(runs[0])} is a whole run among {len(sources)} generations",
            "name it alone, or name checkpoints of it (RUN/checkpoints/1)",
        )
    return _of_models(sources)


def _of_run(folder: Path) -> Lineage:
    checkpoints = read_lineage(folder)
    try:
        stored = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        worker = dict(stored["config"]["worker"])
        model = str(worker.pop("model"))
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        raise RunError(
            f"{folder} does not say which model its Worker is", "it needs the run's config.yaml"
        ) from None
    if len(checkpoints) < 2:
        made = "no checkpoint" if not checkpoints else "one generation only: nothing was retrained"
        raise RunError(
            f"{folder} has {made}", "drift needs a run with at least one retrain, or two models"
        )
    places = {checkpoint.number: i for i, checkpoint in enumerate(checkpoints)}
    generations = tuple(
        Generation(
            i,
            f"checkpoint {c.number}" if c.adapter else f"checkpoint {c.number} ({model})",
            model,
            c.adapter,
            None if i == 0 else places.get(c.parent if c.parent is not None else -1, 0),
            c.intervention,
            "" if c.adapter is None else _digest(c.adapter),
        )
        for i, c in enumerate(checkpoints)
    )
    return Lineage(folder.resolve().name, generations, worker, True)


def _of_models(sources: Sequence[str]) -> Lineage:
    refs = [_known(source) for source in sources]
    if len(refs) < 2:
        raise DataError(
            f"{one_line(sources[0])} is one generation only",
            "name a run folder, or two or more models in order",
        )
    _check_bases(refs)
    generations = tuple(
        Generation(
            i,
            ref.name,
            ref.name,
            None,
            None if i == 0 else i - 1,
            "",
            "" if ref.path is None else _digest(ref.path),
        )
        for i, ref in enumerate(refs)
    )
    trained = any(ref.kind == "adapter" for ref in refs)
    name = f"{refs[0].name} … {refs[-1].name}"
    return Lineage(name, generations, {}, trained)


def _known(source: str) -> ModelRef:
    path = Path(source).expanduser()
    holds = ("config.json", "adapter_config.json")
    if path.is_dir() and not any((path / name).is_file() for name in holds):
        raise ModelError(
            f"{one_line(source)} is neither a run nor a model",
            "a run has events.jsonl, a model config.json, a checkpoint adapter_config.json",
        )
    return parse(source)


def _check_bases(refs: Sequence[ModelRef]) -> None:
    """Refuse adapters of different bases, which are no lineage."""
    bases = {ref.base.name: ref for ref in refs if ref.base is not None}
    if len(bases) > 1:
        (one, first), (two, second), *_ = bases.items()
        raise DataError(
            f"{one_line(first.name)} is an adapter of {one_line(one)} and "
            f"{one_line(second.name)} one of {one_line(two)}",
            "a lineage has one base; merge them first (custodes models export) to compare anyway",
        )


def _digest(path: Path) -> str:
    """Hash the weights in a file or folder."""
    if path.is_file():
        return file_sha256(path)[:16]
    files = [*sorted(path.glob("*.safetensors")), *sorted(path.glob("simulated.json"))]
    parts = [f"{file.name} {file_sha256(file)}" for file in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
