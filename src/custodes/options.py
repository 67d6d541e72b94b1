"""Command-line options made from a config, so that each is defined and explained once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from pydantic import BaseModel
from tyro.conf import Positional, arg

from custodes.config import REQUIRED, keys_of, validate_config

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
    """Parse the arguments of a verb whose options are the keys of a config, plus ``--out``.

    Args:
        model: The config. Its docstring explains the options.
        arguments: The arguments after the verb.
        prog: The command, for the help, e.g. "custodes diff".
        about: A description of the verb, for the help.
        positional: Keys that are positional arguments.

    Returns:
        The config, and the folder to write to.

    Raises:
        ConfigError: It names every mistake on one line.
    """
    options = tyro.cli(_unchecked(model, positional), prog=prog, description=about, args=arguments)
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    out = values.pop("out")
    return validate_config(values, model, prog), out


def extended(cls: type, **more: tuple[Any, Any]) -> Any:
    """Return a subclass of a dataclass with more fields, given as (annotation, default)."""
    fields: list[Any] = [
        (name, kind, dataclasses.field(default=default)) for name, (kind, default) in more.items()
    ]
    return _dataclass(cls, fields, bases=(cls,))


def _unchecked(model: type[BaseModel], positional: Sequence[str]) -> Any:
    """Return a dataclass with a config's keys, defaults and docstring.

    tyro can fill a pydantic model, but it would print pydantic's own messages on several lines.
    """
    marker: Any = Positional
    fields: list[Any] = [("out", Annotated[Path, arg(help="The folder to write to.")])]
    for name, (annotation, default) in keys_of(model).items():
        kind: Any = annotation
        if name in positional:
            kind = Annotated[marker[annotation], arg(metavar=name.upper())]
        optional = () if default is REQUIRED else (dataclasses.field(default=default),)
        fields.append((name, kind, *optional))
    return _dataclass(model, fields)


def _dataclass(like: type, fields: list[Any], bases: tuple[type, ...] = ()) -> Any:
    made = dataclasses.make_dataclass(like.__name__, fields, bases=bases, frozen=True)
    made.__doc__ = like.__doc__
    return made
