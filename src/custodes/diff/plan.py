"""The two sides of a diff before anything is run: who answers, how, and what is asked."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from custodes.conversation import Chat, Message
from custodes.data import SHIPPED, read_prompts
from custodes.diff.config import DiffConfig
from custodes.diff.responses import Responses, read_responses
from custodes.errors import ConfigError, CustodesWarning, DataError, near_misses
from custodes.models.base import Sampling
from custodes.models.resolve import parse
from custodes.seeds import derive
from custodes.text import one_line

__all__ = ["Question", "Side", "Task", "plan"]


@dataclass(frozen=True)
class Question:
    """A prompt with its id.

    Attributes:
        id: Distinct.
        chat: What a model is given, without the side's system prompt.
        text: What reports and response files show of it.
    """

    id: str
    chat: tuple[Message, ...]
    text: str


@dataclass(frozen=True)
class Side:
    """A or B.

    Attributes:
        letter: "a" or "b".
        model: A model's name, or None where ``responses`` are given.
        label: What reports call it.
        sampling: How the model answers.
        system: System prompt before each prompt.
        responses: What a response file holds.
    """

    letter: str
    model: str | None
    label: str
    sampling: Sampling
    system: str | None = None
    responses: Responses | None = None

    def chats(self, questions: Sequence[Question]) -> list[Chat]:
        """Put the side's system prompt before each question, in place of one that is there."""
        if self.system is None:
            return [q.chat for q in questions]
        first: Message = {"role": "system", "content": self.system}
        return [[first, *(m for m in q.chat if m["role"] != "system")] for q in questions]

    def settings(self) -> dict[str, Any]:
        """Return what diff.json says of how this side answered."""
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
class Task:
    """All that a diff needs to know before it begins.

    Attributes:
        sides: A and B.
        questions: What models are asked; empty where both sides are files.
        digest: Changes whenever a question or a response file does.
        notes: What a reader should know, one line each.
    """

    sides: tuple[Side, Side]
    questions: tuple[Question, ...]
    digest: str
    notes: tuple[str, ...] = ()


def plan(config: DiffConfig) -> Task:
    """Read response files and prompts, and settle who answers what. No model is loaded.

    Raises:
        ConfigError: Options contradict each other.
        DataError: A file is missing or malformed.
        ModelError: A model's name is not understood.
    """
    _check(config)
    # Warnings of the readers become notes: they are about the data, and belong into the report.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CustodesWarning)
        one, two = _side(config, "a"), _side(config, "b")
        questions = _questions(config, one, two)
    notes = tuple(str(w.message) for w in caught if issubclass(w.category, CustodesWarning))
    for w in caught:
        if not issubclass(w.category, CustodesWarning):
            warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)
    if one.label == two.label:
        one, two = _told_apart(one, two)
    parts = [repr(questions), *(repr(side.responses) for side in (one, two))]
    digest = hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Task((one, two), questions, digest, notes)


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
    if len(files) == 2 and config.limit is not None:
        raise ConfigError("--limit with two response files", "leave it out, or cut the files")


def _is_file(name: str) -> bool:
    path = Path(name)
    if path.is_file():
        return path.suffix != ".gguf"
    return path.suffix in (".jsonl", ".json") and not path.is_dir()


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
        given = [
            f"--{key}-{letter}"
            for key, value in (("system", system), ("temperature", temperature))
            if value is not None
        ]
        if given:
            raise ConfigError(
                f"{given[0]} is for a model, and {name} is a file of responses", "leave it out"
            )
        return Side(letter, None, _short(name, config), sampling, None, _read(Path(name)))
    parse(name)
    return Side(letter, name, name, sampling, system)


def _short(name: str, config: DiffConfig) -> str:
    """Call a file by its name without the folders, where that tells the sides apart."""
    alone = Path(name).name
    return alone if Path(config.a).name != Path(config.b).name else name


def _read(path: Path) -> Responses:
    if not path.exists():
        there = (
            [other.name for other in path.parent.glob("*.json*")] if path.parent.is_dir() else []
        )
        raise DataError(f"no response file {path}", near_misses(path.name, there))
    return read_responses(path, str(path))


def _told_apart(one: Side, two: Side) -> tuple[Side, Side]:
    """Name what differs between two sides of one model."""

    def label(side: Side, other: Side) -> str:
        said = []
        if side.system != other.system:
            said.append(f"system “{one_line(side.system, 30)}”" if side.system else "no system")
        if side.sampling.temperature != other.sampling.temperature:
            said.append(f"temperature {side.sampling.temperature:g}")
        plain = f"{side.letter.upper()}:{side.label}"
        return f"{side.label}, {', '.join(said)}" if said else plain

    return replace(one, label=label(one, two)), replace(two, label=label(two, one))


def _questions(config: DiffConfig, one: Side, two: Side) -> tuple[Question, ...]:
    """Gather what to ask: a file's prompts, or those of the prompt sets."""
    if one.model is None and two.model is None:
        return ()
    answered = one.responses or two.responses
    if answered is not None:
        questions = [
            Question(i, ({"role": "user", "content": prompt},), prompt)
            for i, prompt in zip(answered.ids, answered.prompts, strict=True)
        ]
        blank = [q.id for q in questions if not q.text.strip()]
        if blank:
            raise DataError(
                f"prompt {one_line(blank[0], 60)!r} of {answered.name} is empty",
                "a model cannot be asked it: remove the row",
            )
    else:
        sources = [config.prompts] if config.prompts is not None else list(SHIPPED)
        queries = [q for s in sources for q in read_prompts(s, domain="", split=None)]
        questions = [Question(q.id, q.chat, _shown(q.chat)) for q in queries]
    if config.limit is not None and config.limit < len(questions):
        rng = np.random.default_rng(derive(config.seed, "limit"))
        chosen = np.sort(rng.permutation(len(questions))[: config.limit])
        questions = [questions[k] for k in chosen]
    return tuple(questions)


def _shown(chat: Sequence[Message]) -> str:
    turns = [m for m in chat if m["role"] != "system"]
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n\n".join(f"{m['role']}: {m['content']}" for m in turns)
