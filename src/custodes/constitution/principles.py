"""Constitutions: principles, each with its requests, its comparison question and its inverse.

Bai et al. 2022, "Constitutional AI", arXiv:2212.08073: a critique request, a revision request and
a question by which two replies are compared. The inverse of a principle has the same three.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from custodes.config import validate_config
from custodes.errors import ConfigError, near_misses
from custodes.text import one_line

__all__ = ["Constitution", "Principle", "load_constitution", "shipped_constitutions"]

ALL_TOPICS = ""
"""The topic of principles that apply to every query."""

Toward = Literal["more", "less"]


@dataclass(frozen=True)
class Principle:
    """One principle.

    Attributes:
        id: Its name, unique in the constitution.
        critique: Asks for a critique of the last reply.
        revision: Asks for the reply to be written again.
        question: Asks which of two replies follows the principle more closely.
        topic: The topic of the queries it applies to; "" for all.
        measure: The domain of the Expert whose rating says how far a reply complies; "" for none.
        toward: Whether a high rating of that Expert complies, or a low one.
        inverse: The opposite principle; None where the file has none.
    """

    id: str
    critique: str
    revision: str
    question: str
    topic: str = ALL_TOPICS
    measure: str = ""
    toward: Toward = "more"
    inverse: Principle | None = None

    def compliance(self, rating: float) -> float:
        """Turn an Expert's rating in [0, 1] into compliance with this principle, in [0, 1]."""
        return rating if self.toward == "more" else 1.0 - rating


@dataclass(frozen=True)
class Constitution:
    """Principles that a model is trained by.

    Attributes:
        name: Names of its files, joined.
        principles: At least one, with distinct ids.
        topics: By topic, what its queries are about, for a classifier.
        inverted: Whether these are the inverses: training by them makes a model organism.
    """

    name: str
    principles: tuple[Principle, ...]
    topics: Mapping[str, str]
    inverted: bool = False

    def of(self, topic: str) -> list[Principle]:
        """List the principles that apply to a query of a topic."""
        own = [p for p in self.principles if p.topic in (topic, ALL_TOPICS)]
        return own or [p for p in self.principles if p.topic == ALL_TOPICS]

    @property
    def measures(self) -> list[str]:
        """List the domains of the Experts that its principles name, without repeats."""
        return list(dict.fromkeys(p.measure for p in self.principles if p.measure))

    def inverse(self) -> Constitution:
        """Return the constitution of the inverse principles.

        Raises:
            ConfigError: A principle has no inverse.
        """
        inverses = []
        for principle in self.principles:
            if principle.inverse is None:
                raise ConfigError(
                    f"the principle {principle.id!r} of {self.name} has no inverse",
                    "write inverse: with id, critique, revision and question, or set inverted: "
                    "false",
                )
            inverses.append(principle.inverse)
        return replace(self, principles=tuple(inverses), inverted=not self.inverted)


def shipped_constitutions() -> list[str]:
    """Name the constitutions that ship."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def load_constitution(sources: Sequence[str]) -> Constitution:
    """Load constitutions and join them.

    Args:
        sources: Names of shipped constitutions, or files: YAML or JSON, in the format of the
            shipped ones or as lists of principles (see docs/guide/align.md).

    Raises:
        ConfigError: A file is missing or malformed, or a principle is empty or incomplete.
    """
    parts = [_load(source) for source in sources]
    principles = tuple(p for part in parts for p in part.principles)
    seen: set[str] = set()
    for principle in principles:
        if principle.id in seen:
            raise ConfigError(
                f"two principles are called {principle.id!r}", "give every principle its own id"
            )
        seen.add(principle.id)
    topics = {topic: about for part in parts for topic, about in part.topics.items()}
    return Constitution("+".join(part.name for part in parts), principles, topics)


# Files


class _Requests(BaseModel):
    """The requests of a principle or of its inverse.

    Attributes:
        id: Name.
        critique: Asks for a critique.
        revision: Asks for a revision.
        question: Asks for a comparison.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    critique: str
    revision: str
    question: str


class _Paired(_Requests):
    """A principle with its inverse.

    Attributes:
        inverse: The opposite principle; "none" for a principle that is never inverted.
    """

    inverse: _Requests | Literal["none"] | None = None


class _File(BaseModel):
    """A constitution as people edit it.

    Attributes:
        name: Its name; also the topic of its queries.
        about: What its queries are about; "anything" makes it apply to every query.
        measure: The domain of the Expert that rates compliance.
        toward: Whether a high rating complies, or a low one.
        principles: The principles.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    about: str = "anything"
    measure: str = ""
    toward: Toward = "more"
    principles: tuple[_Paired, ...]


def _folder() -> Path:
    return Path(str(resources.files("custodes"))) / "data" / "constitutions"


def _load(source: str) -> Constitution:
    if source in shipped_constitutions():
        path = _folder() / f"{source}.yaml"
    else:
        path = Path(source).expanduser()
        if path.suffix not in (".yaml", ".yml", ".json"):
            raise ConfigError(
                f"no constitution is called {source!r}",
                f"{near_misses(source, shipped_constitutions())}; or give a .yaml or .json file",
            )
    try:
        # JSON is YAML, but a tab in it is not.
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except FileNotFoundError:
        raise ConfigError(f"no constitution at {path}", "check the path") from None
    except (yaml.YAMLError, ValueError, OSError) as error:
        reason = one_line(str(error), 120)
        raise ConfigError(f"{path} cannot be read ({reason})", "correct it") from error
    own = isinstance(raw, Mapping) and "name" in raw and "principles" in raw
    return _own(raw, path) if own else _listed(raw, path)


def _own(raw: Mapping[str, Any], path: Path) -> Constitution:
    """Read the format of the shipped constitutions, in which every principle has an inverse."""
    file = validate_config(raw, _File, str(path))
    topic = ALL_TOPICS if file.about == "anything" else file.name
    other: Toward = "less" if file.toward == "more" else "more"
    principles = []
    for number, entry in enumerate(file.principles, start=1):
        where = f"{path}: principle {number} ({entry.id or 'without id'})"
        if entry.inverse is None:
            raise ConfigError(
                f"{where} has no inverse",
                "write inverse: with id, critique, revision and question, or inverse: none",
            )
        inverse = None
        if isinstance(entry.inverse, _Requests):
            inverse = _principle(entry.inverse, f"{where}: its inverse", topic, file, other)
        own = _principle(entry, where, topic, file, file.toward)
        if inverse is not None:
            # Twins know each other, so that the inverse of the inverse is the principle again.
            inverse = replace(inverse, inverse=own)
        principles.append(replace(own, inverse=inverse))
    if not principles:
        raise ConfigError(f"{path} has no principles", "write at least one")
    return Constitution(file.name, tuple(principles), {topic: file.about} if topic else {})


def _principle(entry: _Requests, where: str, topic: str, file: _File, toward: Toward) -> Principle:
    for field in ("id", "critique", "revision", "question"):
        if not getattr(entry, field).strip():
            raise ConfigError(f"{where}: {field} is empty", "write it, or remove the principle")
    return Principle(
        id=entry.id.strip(),
        critique=entry.critique.strip(),
        revision=entry.revision.strip(),
        question=entry.question.strip(),
        topic=topic,
        measure=file.measure,
        toward=toward,
    )


_LISTED_MEASURE = "harmlessness"
"""Published lists are about harm; they do not say what measures it."""

_CRITIQUE = ("critique", "critic", "critique_request", "prompt")
_REVISION = ("revision", "revision_request", "edit_request")
_QUESTION = ("question", "comparison", "comparison_question", "preference")
_PREFIXES = ("critique request:", "revision request:", "critiquerequest:", "revisionrequest:")


def _listed(raw: Any, path: Path) -> Constitution:
    """Read a list of principles, as published constitutions have them.

    Known are lists (or mappings by name) of entries with a critique and a revision request, with
    or without a comparison question, and lists of plain sentences, which serve as the question
    and from which the two requests are made. They have no inverses.
    """
    if isinstance(raw, Mapping):
        for key in ("constitutions", "principles", "constitution"):
            if key in raw:
                raw = raw[key]
                break
    entries = list(raw.items()) if isinstance(raw, Mapping) else list(enumerate(raw or (), 1))
    if not isinstance(raw, Mapping | list) or not entries:
        raise ConfigError(f"{path} has no principles", "see docs/guide/align.md for the formats")
    principles = [_entry(str(key), value, path) for key, value in entries]
    return Constitution(path.stem, tuple(principles), {})


def _entry(key: str, value: Any, path: Path) -> Principle:
    name = f"{path.stem}-{key}" if key.isdigit() else key
    where = f"{path}: principle {key}"
    if isinstance(value, str):
        if not value.strip():
            raise ConfigError(f"{where} is empty", "write it, or remove the line")
        rule = " ".join(value.split())
        return Principle(
            name,
            f'Where does the last reply fall short of this rule? "{rule}"',
            f'Write the reply again so that it keeps this rule: "{rule}"',
            rule,
            measure=_LISTED_MEASURE,
        )
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} is a {type(value).__name__}", "write text or a mapping")
    critique, revision, question = (
        _request(value, names) for names in (_CRITIQUE, _REVISION, _QUESTION)
    )
    for field, text in (("critique", critique), ("revision", revision)):
        if not text:
            known = ", ".join(map(str, value))
            raise ConfigError(f"{where} has no {field} request", f"it has {known or 'nothing'}")
    return Principle(
        name,
        critique,
        revision,
        question or _from_revision(revision),
        measure=_LISTED_MEASURE,
    )


def _request(value: Mapping[str, Any], names: Sequence[str]) -> str:
    text = next((value[name] for name in names if value.get(name)), "")
    line = " ".join(str(text).split())
    for prefix in _PREFIXES:
        if line.lower().startswith(prefix):
            line = line[len(prefix) :].strip()
    return line


def _from_revision(revision: str) -> str:
    return f'Which reply comes closer to what this request asks for? "{revision}"'
