"""Config files: YAML in, a validated model out, all mistakes on one line.

pydantic validates; its messages know neither near misses nor the file's own spelling of a key.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import yaml
from pydantic import BaseModel, ValidationError

from custodes.errors import ConfigError, near_misses

__all__ = ["REQUIRED", "classes_in", "keys_of", "load_config", "validate_config"]

M = TypeVar("M", bound=BaseModel)

REQUIRED = object()
"""The default of a key that has none."""


def load_config(path: Path, model: type[M], overrides: Sequence[str] = ()) -> M:
    """Read a YAML config, apply overrides and validate it.

    Args:
        path: A YAML file.
        model: The type of the config.
        overrides: ``key=value`` with dotted keys and YAML values, e.g. ``worker.engine=torch``. A
            number in a key is the index of a list item, e.g. ``experts.0.kind=head``.

    Raises:
        ConfigError: The file is missing, is not a YAML mapping, or does not validate.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        neighbours = [other.name for other in path.parent.glob("*.y*ml")]
        raise ConfigError(f"no config file {path}", near_misses(path.name, neighbours)) from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path} is a folder", "name a YAML file in it") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise ConfigError(f"{path} is not YAML{where} ({problem})", "correct it") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} is not a mapping of keys to values", "see examples/")
    for override in overrides:
        _override(raw, override)
    return validate_config(raw, model, str(path))


def validate_config(raw: Mapping[str, Any], model: type[M], source: str = "config") -> M:
    """Validate a config that is already a mapping.

    Args:
        raw: The config.
        model: Its type.
        source: Where the config is from, for the error message.

    Raises:
        ConfigError: It names every mistake, in order, on one line.
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
    """Return one clause: where a value is wrong, and what would be right."""
    *path, last = problem["loc"] or ("config",)
    where = ".".join(_written(problem["loc"], raw)) or "config"
    if problem["type"] in UNKNOWN_KEY:
        names = {name for cls in _types_at(model, path) for name in keys_of(cls)}
        return f"unknown key {where}: {near_misses(str(last), names)}"
    if problem["type"] == "union_tag_invalid":
        kinds = problem["ctx"]["expected_tags"].replace("'", "").split(", ")
        return f"{where}: no kind {problem['ctx']['tag']!r}: " + near_misses(
            problem["ctx"]["tag"], kinds
        )
    message = problem["msg"][0].lower() + problem["msg"][1:]
    value = problem["input"]
    contrast = "" if isinstance(value, Mapping | list) else f", not {value!r}"
    return f"{where}: {message}{contrast}"


def _written(location: Sequence[str | int], raw: Any) -> Iterator[str]:
    """Yield a location as the file has it; pydantic also names the members of unions."""
    for depth, part in enumerate(location):
        if isinstance(raw, Mapping) and part in raw:
            raw = raw[str(part)]
        elif isinstance(raw, Sequence) and isinstance(part, int):
            raw = raw[part]
        elif depth < len(location) - 1:
            continue
        yield str(part)


def _types_at(model: Any, path: Sequence[str | int]) -> list[Any]:
    """List the classes that a location in a config may hold."""
    classes = [model]
    for part in path:
        inner: list[Any] = []
        for cls in classes:
            keys = keys_of(cls)
            if part in keys:
                inner += classes_in(keys[str(part)][0])
            elif "kind" in keys and part in get_args(keys["kind"][0]):
                inner.append(cls)
        # The index of a list item is no key and leads no deeper; a union's tag leaves one member.
        classes = inner or classes
    return classes


def keys_of(cls: Any) -> dict[str, tuple[Any, Any]]:
    """Map the keys of a pydantic model or dataclass to their annotations and defaults.

    Returns:
        (annotation, default) by key; the default is `REQUIRED` where there is none. Empty for any
        other class.
    """
    if isinstance(cls, type) and issubclass(cls, BaseModel):
        return {
            name: (
                info.annotation,
                REQUIRED if info.is_required() else info.get_default(call_default_factory=True),
            )
            for name, info in cls.model_fields.items()
        }
    if isinstance(cls, type) and dataclasses.is_dataclass(cls):
        hints = get_type_hints(cls)
        return {f.name: (hints[f.name], _dataclass_default(f)) for f in dataclasses.fields(cls)}
    return {}


def _dataclass_default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return REQUIRED if field.default is dataclasses.MISSING else field.default


def classes_in(annotation: Any) -> Iterator[Any]:
    """Yield the classes with keys inside an annotation (unions, lists, mappings, Annotated)."""
    if get_origin(annotation) is Annotated:
        yield from classes_in(get_args(annotation)[0])
    elif get_origin(annotation) is not None or isinstance(annotation, types.UnionType):
        for argument in get_args(annotation):
            yield from classes_in(argument)
    elif keys_of(annotation):
        yield annotation
