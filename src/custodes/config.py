"""Config files: YAML in, a validated model out, every mistake in one line."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import BaseModel, ValidationError

from custodes.errors import ConfigError, near_misses

__all__ = ["classes_in", "load_config", "validate_config"]

M = TypeVar("M", bound=BaseModel)


def load_config(path: Path, model: type[M], overrides: Sequence[str] = ()) -> M:
    """Read a YAML config, apply overrides, validate.

    Args:
        path: A YAML file.
        model: What it must be.
        overrides: ``key=value`` with dotted keys and YAML values, e.g. ``worker.engine=torch``;
            a number in a key picks from a list, e.g. ``experts.0.kind=head``.

    Raises:
        ConfigError: The file is missing, is not a YAML mapping, or does not validate.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        there = [other.name for other in path.parent.glob("*.y*ml")]
        raise ConfigError(f"no config file {path}", near_misses(path.name, there)) from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path} is a folder", "name a YAML file in it") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        at = getattr(error, "problem_mark", None)
        where = f" at line {at.line + 1}" if at else ""
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise ConfigError(f"{path} is not YAML{where} ({problem})", "correct it") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} is not a mapping of keys to values", "see examples/")
    for override in overrides:
        _override(raw, override)
    return validate_config(raw, model, str(path))


def validate_config(raw: Mapping[str, Any], model: type[M], source: str = "config") -> M:
    """Validate a config that is already a mapping.

    Raises:
        ConfigError: It names every mistake, first come first, on one line.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(problem, model, raw) for problem in error.errors()]
        more = f" (and {len(lines) - 1} more: {'; '.join(lines[1:])})" if len(lines) > 1 else ""
        raise ConfigError(f"{source}: {lines[0]}{more}") from error


def _override(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r} is not key=value", "e.g. steps=4")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r} has no YAML value", "quote it") from error
    *path, last = key.split(".")
    place: Any = raw
    for part in path:
        place = _step_into(place, part, override)
    if isinstance(place, list):
        if not last.isdigit() or int(last) >= len(place):
            raise ConfigError(f"override {override!r}: no item {last} in the list", "count from 0")
        place[int(last)] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise ConfigError(f"override {override!r} goes into a plain value", "shorten the key")


def _step_into(place: Any, part: str, override: str) -> Any:
    if isinstance(place, list):
        if part.isdigit() and int(part) < len(place):
            return place[int(part)]
        raise ConfigError(f"override {override!r}: no item {part} in the list", "count from 0")
    if isinstance(place, dict):
        if place.get(part) is None:
            place[part] = {}
        return place[part]
    raise ConfigError(f"override {override!r} goes into a plain value", "shorten the key")


UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")


def _explain(problem: Any, model: type[BaseModel], raw: Mapping[str, Any]) -> str:
    """Say in one clause where a value is wrong, and what would be right."""
    *path, last = problem["loc"] or ("config",)
    where = ".".join(_written(problem["loc"], raw)) or "config"
    if problem["type"] in UNKNOWN_KEY:
        known = sorted({name for t in _types_at(model, path) for name in _fields(t)})
        return f"unknown key {where}: {near_misses(str(last), known)}"
    if problem["type"] == "union_tag_invalid":
        kinds = problem["ctx"]["expected_tags"].replace("'", "").split(", ")
        return f"{where}: no kind {problem['ctx']['tag']!r}: " + near_misses(
            problem["ctx"]["tag"], kinds
        )
    message = problem["msg"][0].lower() + problem["msg"][1:]
    given = problem["input"]
    shown = "" if isinstance(given, Mapping | list) else f", not {given!r}"
    return f"{where}: {message}{shown}"


def _written(location: Sequence[str | int], raw: Any) -> Iterator[str]:
    """Yield a location as its writer knows it: pydantic also names the members of unions."""
    for at, part in enumerate(location):
        if isinstance(raw, Mapping) and part in raw:
            raw = raw[str(part)]
        elif isinstance(raw, Sequence) and isinstance(part, int):
            raw = raw[part]
        elif at < len(location) - 1:
            continue
        yield str(part)


def _types_at(model: Any, path: Sequence[str | int]) -> list[Any]:
    """List the classes that a location in a config may hold."""
    here = [model]
    for part in path:
        there: list[Any] = []
        for cls in here:
            fields = _fields(cls)
            if part in fields:
                there += classes_in(fields[str(part)])
            elif part in get_args(fields.get("kind")):
                there.append(cls)
        # A list index names no field and leads no further down; a union's tag leaves one member.
        here = there or here
    return here


def _fields(cls: Any) -> dict[str, Any]:
    if isinstance(cls, type) and issubclass(cls, BaseModel):
        return {name: info.annotation for name, info in cls.model_fields.items()}
    if dataclasses.is_dataclass(cls):
        hints = get_type_hints(cls)
        return {f.name: hints[f.name] for f in dataclasses.fields(cls)}
    return {}


def classes_in(annotation: Any) -> Iterator[Any]:
    """Yield the classes with fields inside an annotation (unions, lists, mappings, Annotated)."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from classes_in(get_args(annotation)[0])
    elif origin in (Union, types.UnionType) or origin is not None:
        for arg in get_args(annotation):
            yield from classes_in(arg)
    elif _fields(annotation):
        yield annotation
