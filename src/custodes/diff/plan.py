"""The plan of a diff: the models of both sides, their settings, and the prompts."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from custodes.conversation import Chat, Message, Query, user_chat
from custodes.data import SHIPPED, read_prompts
from custodes.data.responses import SUFFIXES
from custodes.diff.config import DiffConfig
from custodes.diff.responses import Responses, read_responses
from custodes.errors import ConfigError, CustodesWarning, DataError, near_misses
from custodes.models.base import Sampling
from custodes.models.resolve import parse
from custodes.seeds import derive
from custodes.text import one_line

__all__ = ["DiffPlan", "Side", "plan"]

COLUMNS = ("prompt_column", "response_column")
# Files of a folder of custodes that hold no responses.
OURS = {"diff.json", "map.json", "contrast.json", "events.jsonl", "timings.jsonl"}


@dataclass(frozen=True)
class Side:
    """A or B.

    Attributes:
        letter: "a" or "b".
        model: Name of the model, None for a response file.
        label: Name of this side in reports.
        sampling: Sampling parameters of the model.
        system: System prompt before each prompt, None to leave the prompts as they are.
        responses: Content of the response file, None for a model.
    """

    letter: str
    model: str | None
    label: str
    sampling: Sampling
    system: str | None = None
    responses: Responses | None = None

    def chats(self, queries: Sequence[Query]) -> list[Chat]:
        """Return the chats with the side's system prompt, which replaces one that is there."""
        if self.system is None:
            return [query.chat for query in queries]
        first: Message = {"role": "system", "content": self.system}
        return [[first, *(m for m in q.chat if m["role"] != "system")] for q in queries]

    def settings(self) -> dict[str, Any]:
        """Return the side's settings as diff.json has them."""
        if self.model is None:
            return {"model": None}
        return {
            "model": self.model,
            "system": self.system,
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "max_tokens": self.sampling.max_tokens,
            "samples": self.sampling.n,
        }


@dataclass(frozen=True)
class DiffPlan:
    """What a diff compares, before any model is loaded.

    Attributes:
        sides: A and B.
        queries: The prompts for the models; empty if both sides are files.
        digest: Changes with the prompts and the response files.
        notes: What a reader should know, one line each.
    """

    sides: tuple[Side, Side]
    queries: tuple[Query, ...]
    digest: str
    notes: tuple[str, ...] = ()


def plan(config: DiffConfig) -> DiffPlan:
    """Read response files and prompts, and settle both sides. No model is loaded.

    Raises:
        ConfigError: Options contradict each other.
        DataError: A file is missing or malformed.
        ModelError: A model's name is not understood.
    """
    _check(config)
    # Warnings of the readers are about the data, so they become notes of the report.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CustodesWarning)
        one, two = _side(config, "a"), _side(config, "b")
        queries = _queries(config, one, two)
    notes = tuple(str(w.message) for w in caught if issubclass(w.category, CustodesWarning))
    for w in caught:
        if not issubclass(w.category, CustodesWarning):
            warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)
    if one.label == two.label:
        one, two = _distinguished(one, two)
    else:
        one, two = _with_system(one), _with_system(two)
    notes += tuple(
        f"{side.letter.upper()} was given no system prompt: its chat template may add one of its "
        "own, as that of smollm2-135m does"
        for side in (one, two)
        if side.model is not None and not side.system and one.system != two.system
    )
    content = [repr(queries), *(repr(side.responses) for side in (one, two))]
    digest = hashlib.sha256("\n".join(content).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return DiffPlan(sides=(one, two), queries=queries, digest=digest, notes=notes)


def _check(config: DiffConfig) -> None:
    if config.judge is not None and config.labeler is None:
        raise ConfigError("a judge without a labeler has nothing to check", "add --labeler MODEL")
    for name in (config.labeler, config.judge):
        if name is not None:
            parse(name)
    files = [name for name in (config.a, config.b) if _is_file(name)]
    if config.contrast and files:
        raise ConfigError(f"--contrast needs two models, and {files[0]} is a file of responses")
    if files and config.prompts is not None:
        raise ConfigError(
            f"--prompts {config.prompts} beside the response file {files[0]}",
            "leave it out: the prompts are those of the file",
        )
    for key in COLUMNS:
        for letter, name in (("a", config.a), ("b", config.b)):
            if getattr(config, f"{key}_{letter}") is not None and not _is_file(name):
                option = f"--{key.replace('_', '-')}-{letter}"
                raise ConfigError(
                    f"{option} is for a file of responses, and {name} is a model", "leave it out"
                )
        if getattr(config, key) is not None and not files:
            raise ConfigError(
                f"--{key.replace('_', '-')} is for files of responses", "leave it out"
            )
    if len(files) == 2 and config.limit is not None:
        raise ConfigError("--limit with two response files", "leave it out, or cut the files")


def _is_file(name: str) -> bool:
    path = Path(name)
    if path.is_file():
        return path.suffix != ".gguf"
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def _side(config: DiffConfig, letter: str) -> Side:
    name = getattr(config, letter)
    temperature = getattr(config, f"temperature_{letter}")
    system = getattr(config, f"system_{letter}")
    sampling = Sampling(
        max_tokens=config.max_tokens,
        temperature=config.temperature if temperature is None else temperature,
        top_p=config.top_p,
        n=config.samples,
        seed=config.seed,
    )
    if _is_file(name):
        options = [
            f"--{key}-{letter}"
            for key, value in (("system", system), ("temperature", temperature))
            if value is not None
        ]
        if options:
            raise ConfigError(
                f"{options[0]} is for a model, and {name} is a file of responses", "leave it out"
            )
        return Side(
            letter=letter,
            model=None,
            label=_short(name, letter, config),
            sampling=sampling,
            responses=_read(Path(name), *(_column(config, key, letter) for key in COLUMNS)),
        )
    parse(name)
    return Side(letter=letter, model=name, label=name, sampling=sampling, system=system)


def _column(config: DiffConfig, key: str, letter: str) -> str | None:
    own: str | None = getattr(config, f"{key}_{letter}")
    both: str | None = getattr(config, key)
    return both if own is None else own


def _short(name: str, letter: str, config: DiffConfig) -> str:
    """Return a file's name without its folders, if that tells the sides apart."""
    if config.a == config.b:
        column = _column(config, "response_column", letter)
        return Path(name).name if column is None else f"{Path(name).name} {one_line(column, 40)}"
    alone = Path(name).name
    return alone if Path(config.a).name != Path(config.b).name else name


def _read(path: Path, prompt_column: str | None, response_column: str | None) -> Responses:
    if not path.exists():
        there = []
        if path.parent.is_dir():
            there = [f.name for f in path.parent.iterdir() if f.suffix.lower() in SUFFIXES]
        there = [name for name in there if name not in OURS]
        raise DataError(f"no response file {path}", near_misses(path.name, there))
    return read_responses(
        path, str(path), prompt_column=prompt_column, response_column=response_column
    )


def _distinguished(one: Side, two: Side) -> tuple[Side, Side]:
    """Label two sides of one model by the settings in which they differ."""

    def label(side: Side, other: Side) -> str:
        settings = []
        if side.system != other.system:
            settings.append(_system(side) or "no system prompt given")
        if side.sampling.temperature != other.sampling.temperature:
            settings.append(f"temperature {side.sampling.temperature:g}")
        plain = f"{side.letter.upper()}:{side.label}"
        return f"{side.label}, {', '.join(settings)}" if settings else plain

    return replace(one, label=label(one, two)), replace(two, label=label(two, one))


def _with_system(side: Side) -> Side:
    return replace(side, label=", ".join(filter(None, (side.label, _system(side)))))


def _system(side: Side) -> str:
    return f"system “{one_line(side.system, 30)}”" if side.system else ""


def _queries(config: DiffConfig, one: Side, two: Side) -> tuple[Query, ...]:
    """Return the prompts of the response file, or those of the prompt sets."""
    if one.model is None and two.model is None:
        return ()
    responses = one.responses or two.responses
    if responses is not None:
        queries = [
            Query(i, tuple(user_chat(prompt)))
            for i, prompt in zip(responses.ids, responses.prompts, strict=True)
        ]
        blank = [query.id for query in queries if not query.text.strip()]
        if blank:
            raise DataError(
                f"prompt {one_line(blank[0], 60)!r} of {responses.name} is empty",
                "a model cannot answer it: remove the row",
            )
    else:
        sources = [config.prompts] if config.prompts is not None else list(SHIPPED)
        queries = [q for s in sources for q in read_prompts(s, domain="", split=None)]
    if config.limit is not None and config.limit < len(queries):
        rng = np.random.default_rng(derive(config.seed, "limit"))
        places = np.sort(rng.permutation(len(queries))[: config.limit])
        queries = [queries[k] for k in places]
    return tuple(queries)
