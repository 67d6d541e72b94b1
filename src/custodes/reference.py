"""The reference of a config, written from where its options are defined."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, get_type_hints

import docstring_parser
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from custodes.config import classes_in

__all__ = ["config_reference"]


def config_reference(model: type[BaseModel]) -> str:
    """Write every key of a config, its type, its default and its meaning, as Markdown."""
    seen: list[type] = [model]
    for cls in seen:  # grows while it is walked: depth first would hide the top level
        for annotation, _, _ in _keys(cls).values():
            seen += [inner for inner in classes_in(annotation) if inner not in seen]
    return "\n".join(line for cls in seen for line in _section(cls, top=cls is model))


def _section(cls: type, *, top: bool) -> Iterator[str]:
    about = docstring_parser.parse(cls.__doc__ or "")
    told = {param.arg_name: param.description or "" for param in about.params}
    kind = getattr(cls, "kind", None)
    title = "The config" if top else f"`kind: {kind}`" if kind else f"`{cls.__name__}`"
    yield f"## {title}\n"
    yield f"{' '.join((about.short_description or '').split())}\n"
    yield "| key | type | default | meaning |\n| --- | --- | --- | --- |"
    inherited = [base for base in cls.__mro__[1:] if dataclasses.is_dataclass(base)]
    for base in inherited:
        parent = docstring_parser.parse(base.__doc__ or "")
        told = {param.arg_name: param.description or "" for param in parent.params} | told
    for name, (_, default, shown) in _keys(cls).items():
        if name != "kind":
            meaning = " ".join(told.get(name, "").split()).replace("|", "\\|")
            yield f"| `{name}` | {shown.replace('|', chr(92) + '|')} | {default} | {meaning} |"
    yield ""


def _keys(cls: type) -> dict[str, tuple[Any, str, str]]:
    """Map each key to its annotation, its default and its type, the last two as text."""
    found = {}
    if issubclass(cls, BaseModel):
        for name, info in cls.model_fields.items():
            default = PydanticUndefined if info.is_required() else info.get_default()
            found[name] = (info.annotation, _default(default), _type(info.annotation))
    elif dataclasses.is_dataclass(cls):
        hints = get_type_hints(cls)
        for field in dataclasses.fields(cls):
            default = field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            found[field.name] = (hints[field.name], _default(default), _type(hints[field.name]))
    return found


def _default(value: Any) -> str:
    if value in (dataclasses.MISSING, PydanticUndefined):
        return "required"
    if dataclasses.is_dataclass(value) or (isinstance(value, tuple) and len(value) > 3):
        return "see below"
    if isinstance(value, tuple):
        return "see below" if any(map(dataclasses.is_dataclass, value)) else f"`{list(value)}`"
    return "none" if value is None else f"`{value}`" if value != "" else "required"


def _type(annotation: Any) -> str:
    inner = list(classes_in(annotation))
    if inner:
        return ", ".join(getattr(cls, "kind", None) or cls.__name__ for cls in inner)
    text = str(annotation) if not isinstance(annotation, type) else annotation.__name__
    for old, new in (("typing.", ""), ("collections.abc.", ""), ("NoneType", "None")):
        text = text.replace(old, new)
    return f"`{text}`"
