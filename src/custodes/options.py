"""Command-line options out of a config, so that each is defined and explained once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from tyro.conf import Positional, arg

from custodes.config import validate_config

__all__ = ["extended", "read_options"]

M = TypeVar("M", bound=BaseModel)


def read_options(
    model: type[M],
    arguments: Sequence[str],
    *,
    prog: str,
    about: str,
    positional: Sequence[str] = (),
) -> tuple[M, Path]:
    """Parse a verb whose options are the fields of a config, plus ``--out``.

    Args:
        model: The config. Its docstring explains the options.
        arguments: What follows the verb.
        prog: The verb, as it is called.
        about: What the verb does.
        positional: Fields that have no name on the command line.

    Returns:
        The config, and the folder to write to.

    Raises:
        ConfigError: It names every mistake on one line.
    """
    options = tyro.cli(_plain(model, positional), prog=prog, description=about, args=arguments)
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    out = given.pop("out")
    return validate_config(given, model, prog), out


def extended(cls: type, **more: tuple[Any, Any]) -> Any:
    """Make a dataclass with more fields for tyro to fill, given as (annotation, default)."""
    fields: list[Any] = [
        (name, kind, dataclasses.field(default=default)) for name, (kind, default) in more.items()
    ]
    made = dataclasses.make_dataclass(cls.__name__, fields, bases=(cls,), frozen=True)
    made.__doc__ = cls.__doc__
    return made


def _plain(model: type[BaseModel], positional: Sequence[str]) -> Any:
    """Make a dataclass with a config's fields, defaults and docstring, which validates nothing.

    Parsed into the config itself, mistakes would be told in pydantic's words and by a traceback.
    """
    unnamed: Any = Positional
    fields: list[Any] = [("out", Annotated[Path, arg(help="The folder to write to.")])]
    for name, info in model.model_fields.items():
        kind: Any = info.annotation
        default = info.get_default(call_default_factory=True)
        named: Any = Annotated[unnamed[kind], arg(metavar=name.upper())]
        field = (name, named if name in positional else kind)
        required = default is PydanticUndefined
        fields.append(field if required else (*field, dataclasses.field(default=default)))
    made = dataclasses.make_dataclass(model.__name__, fields, frozen=True)
    made.__doc__ = model.__doc__
    return made
