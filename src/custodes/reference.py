"""The reference of a config: its keys as documentation, as a first config file and as a schema.

It reads docstrings, where options are explained once; pydantic's JSON schema leaves them out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import docstring_parser
import yaml
from pydantic import BaseModel

from custodes.config import REQUIRED, classes_in, keys_of

__all__ = ["config_reference", "config_schema", "config_template"]

WIDTH = 96
"""Columns of a comment in a config file."""


def config_reference(model: type[BaseModel]) -> str:
    """Return a Markdown table of a config's keys, types, defaults and meanings.

    The classes of nested keys follow, a section each, nearest to the top first.
    """
    classes = _classes(model)
    return "\n".join(line for cls in classes for line in _section(cls, top=cls is model))


def config_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return a config's JSON Schema, with the meanings of its keys, for editors and other tools."""
    schema = model.model_json_schema(ref_template="#/$defs/{model}")
    parts = {model.__name__: schema, **schema.get("$defs", {})}
    for cls in _classes(model):
        part, meanings = parts.get(cls.__name__), _meanings(cls)
        if part is None:
            continue
        part["description"] = _line(docstring_parser.parse(cls.__doc__ or "").short_description)
        for name, about in part.get("properties", {}).items():
            # A part that is referred to keeps its own description.
            if "$ref" not in about and meanings.get(name):
                about["description"] = _line(meanings[name])
        part.setdefault("additionalProperties", False)
    _relax(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _relax(part: Any) -> None:
    """Let a value be any of several kinds: the kind that a config leaves out is the usual one."""
    if isinstance(part, dict):
        part.pop("discriminator", None)
        if "oneOf" in part:
            part["anyOf"] = part.pop("oneOf")
        part = list(part.values())
    for inner in part if isinstance(part, list) else ():
        _relax(inner)


def config_template(model: type[BaseModel], values: Mapping[str, Any]) -> str:
    """Return a config file with every key, its default and its meaning.

    Args:
        model: The config.
        values: What the file has instead of defaults; all keys without a default are among them.
    """
    summary = docstring_parser.parse(model.__doc__ or "").short_description
    return "\n".join([*_comment(summary, 0), *_keys(model, values, 0)]) + "\n"


def _keys(cls: type, values: Any, depth: int) -> Iterator[str]:
    """Write the keys of a class, each below what it means.

    Args:
        cls: The class.
        values: A mapping of what is not default, or an instance.
        depth: How deep the keys are nested.
    """
    meanings, margin = _meanings(cls), "  " * depth
    for name, (annotation, default) in keys_of(cls).items():
        value = values.get(name, default) if isinstance(values, Mapping) else getattr(values, name)
        yield from _comment(meanings.get(name), depth)
        if is_dataclass(value) and not isinstance(value, type):
            kinds = [cls.kind for cls in classes_in(annotation) if hasattr(cls, "kind")]
            if kinds:
                yield from _comment(f"Its kind is one of: {', '.join(kinds)}.", depth)
            yield f"{margin}{name}:"
            yield from _keys(type(value), value, depth + 1)
        elif isinstance(value, tuple) and any(map(is_dataclass, value)):
            yield f"{margin}{name}:"
            yield from (f"{margin}  - {_flow(asdict(item))}" for item in value)
        else:
            yield f"{margin}{name}: {_flow(value)}"


def _comment(text: str | None, depth: int) -> Iterator[str]:
    margin = "  " * depth + "# "
    yield from textwrap.wrap(
        _line(text).replace("``", ""),
        WIDTH,
        initial_indent=margin,
        subsequent_indent=margin,
        break_on_hyphens=False,
    )


def _flow(value: Any) -> str:
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, Mapping):
        value = {key: inner for key, inner in value.items() if inner is not None}
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def _classes(model: type) -> list[type]:
    """List a config and the classes of its keys, breadth first."""
    classes: list[type] = [model]
    for cls in classes:  # grows while it is walked
        for annotation, _ in keys_of(cls).values():
            classes += [inner for inner in classes_in(annotation) if inner not in classes]
    return classes


def _section(cls: type, *, top: bool) -> Iterator[str]:
    kind = getattr(cls, "kind", None)
    title = "The config" if top else f"`kind: {kind}`" if kind else f"`{cls.__name__}`"
    summary = docstring_parser.parse(cls.__doc__ or "").short_description
    meanings = _meanings(cls)
    yield f"## {title}\n"
    yield f"{_line(summary)}\n"
    yield "| key | type | default | meaning |\n| --- | --- | --- | --- |"
    for name, (annotation, default) in keys_of(cls).items():
        if name != "kind":
            cells = (_type(annotation), _default(default), _line(meanings.get(name)))
            yield f"| `{name}` | " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _meanings(cls: type) -> dict[str, str | None]:
    """Map keys to what the docstrings of a class and its bases say of them."""
    documented = [*filter(is_dataclass, cls.__mro__[:0:-1]), cls]
    docs = (docstring_parser.parse(each.__doc__ or "") for each in documented)
    return {param.arg_name: param.description for doc in docs for param in doc.params}


def _line(text: str | None) -> str:
    return " ".join((text or "").split())


def _default(value: Any) -> str:
    if value is REQUIRED or value == "":
        return "required"
    if is_dataclass(value) or (
        isinstance(value, tuple) and (len(value) > 3 or any(map(is_dataclass, value)))
    ):
        return "see below"
    return "none" if value is None else f"`{list(value) if isinstance(value, tuple) else value}`"


def _type(annotation: Any) -> str:
    inner = list(classes_in(annotation))
    if inner:
        return ", ".join(getattr(cls, "kind", None) or cls.__name__ for cls in inner)
    text = str(annotation) if not isinstance(annotation, type) else annotation.__name__
    for old, new in (("typing.", ""), ("collections.abc.", ""), ("NoneType", "None")):
        text = text.replace(old, new)
    return f"`{text}`"
