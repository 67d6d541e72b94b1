"""The reference of a config: the one place that writes options as documentation.

It reads docstrings, where options are explained once; pydantic's JSON schema leaves them out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

import docstring_parser
from pydantic import BaseModel

from custodes.config import REQUIRED, classes_in, keys_of

__all__ = ["config_reference"]


def config_reference(model: type[BaseModel]) -> str:
    """Return a Markdown table of a config's keys, types, defaults and meanings.

    The classes of nested keys follow, a section each, nearest to the top first.
    """
    classes: list[type] = [model]
    for cls in classes:  # grows while it is walked: breadth first
        for annotation, _ in keys_of(cls).values():
            classes += [inner for inner in classes_in(annotation) if inner not in classes]
    return "\n".join(line for cls in classes for line in _section(cls, top=cls is model))


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
