"""Command-line options: made from a config, so that each is defined and explained once, and read
so that a mistake is one line.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import tyro
from tyro.conf import Positional, arg

from custodes.errors import UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["Options", "call_verb", "extended", "parse_options", "read_options"]

OUT = "The folder to write to. The same command on the same folder resumes."
JSON = "Print one JSON object to standard output and nothing else."
OVERWRITE = "Replace the run that is in the folder."


class Options(NamedTuple):
    """The options of a verb whose options are the keys of a config.

    Attributes:
        config: The config.
        out: The folder to write to.
        json: Whether to print JSON.
        overwrite: Whether to replace the run in the folder.
    """

    config: Any
    out: Path
    json: bool
    overwrite: bool


def read_options(
    model: type[BaseModel],
    arguments: Sequence[str],
    *,
    prog: str,
    about: str,
    positional: Sequence[str] = (),
) -> Options:
    """Parse the arguments of a verb whose options are the keys of a config.

    ``--out``, ``--json`` and ``--overwrite`` are added to them.

    Args:
        model: The config. Its docstring explains the options.
        arguments: The arguments after the verb.
        prog: The command, for the help, e.g. "custodes diff".
        about: A description of the verb, for the help.
        positional: Keys that are positional arguments.

    Raises:
        UsageError: An option is unknown, missing or malformed.
        ConfigError: It names every mistake on one line.
    """
    from custodes.config import validate_config

    options = parse_options(_unchecked(model, positional), arguments, prog=prog, description=about)
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    own = {name: values.pop(name) for name in ("out", "json", "overwrite")}
    return Options(validate_config(values, model, prog), **own)


def parse_options(form: Any, arguments: Sequence[str], *, prog: str, description: str) -> Any:
    """Fill a dataclass from arguments.

    Raises:
        UsageError: An option is unknown, missing or malformed.
    """
    return _one_line(
        partial(tyro.cli, form, prog=prog, description=description, args=list(arguments)), prog
    )


def call_verb(
    verbs: Mapping[str, Callable[..., None]] | Callable[..., None],
    arguments: Sequence[str],
    *,
    prog: str,
    description: str,
) -> None:
    """Parse arguments, and call the function that they name with them.

    Args:
        verbs: One function, or functions by the name of their verb.
        arguments: The arguments after ``prog``.
        prog: The command so far, for the help.
        description: What it does, for the help.

    Raises:
        UsageError: A verb or an option is unknown, missing or malformed.
    """
    common: dict[str, Any] = {"prog": prog, "description": description, "args": list(arguments)}
    if callable(verbs):
        call = _one_line(partial(tyro.cli, _deferred(verbs), **common), prog)
    else:
        app = tyro.extras.SubcommandApp()
        for name, function in verbs.items():
            app.command(name=name)(_deferred(function))
        call = _one_line(partial(app.cli, **common), prog)
    call()


def _deferred(function: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """Return a function of the same arguments that returns the call instead of making it.

    The parser's own output is caught, which must not hold back that of the verb.
    """

    @wraps(function)
    def defer(*arguments: Any, **options: Any) -> Callable[[], None]:
        return partial(function, *arguments, **options)

    return defer


def _one_line(parse: Callable[[], Any], prog: str) -> Any:
    """Turn the parser's box on standard error into one line."""
    box = io.StringIO()
    try:
        with redirect_stderr(box):
            return parse()
    except SystemExit as end:
        if not end.code:
            raise
    raise UsageError(_unboxed(box.getvalue(), prog), f"see {prog} --help")


def _unboxed(box: str, prog: str) -> str:
    """Return what the parser's box says."""
    # Where the terminal has no other characters, the box is drawn in blanks.
    lines = [line.strip("│|").rstrip(" │|╮╯─+") for line in box.splitlines()]
    lines = [line.lstrip("╭╰─+") for line in lines]
    lines = [line for line in lines if line.strip(" -─") and "full help" not in line]
    if any("Missing from" in line for line in lines):
        # Names are indented less than what they mean.
        named = [line for line in lines if re.match(r" {5,6}\S", line)]
        return "missing: " + ", ".join(line.strip() for line in named if "--help" not in line)
    text = " ".join(map(str.strip, lines))
    malformed = re.search(r"Error parsing (\S+): .*? from \[(.*?)\]", text)
    if malformed:
        return f"{malformed[1]} cannot be {malformed[2]}"
    titles = r"^(Parsing error|Missing argument|Invalid \w+|Unrecognized \w+) *─* *"
    text = " ".join(line.strip() for line in lines if not re.fullmatch(titles, line.strip()))
    return re.sub(r"\s*[─]+\s*", " ", text).strip(" -") or f"{prog} cannot be meant as it stands"


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
    from custodes.config import REQUIRED, keys_of

    marker: Any = Positional
    flag: Any = tyro.conf.FlagCreatePairsOff
    fields: list[Any] = [("out", Annotated[Path, arg(help=OUT)])]
    for name, (annotation, default) in keys_of(model).items():
        kind: Any = annotation
        if name in positional:
            kind = Annotated[marker[annotation], arg(metavar=name.upper())]
        optional = () if default is REQUIRED else (dataclasses.field(default=default),)
        fields.append((name, kind, *optional))
    for name, text in (("json", JSON), ("overwrite", OVERWRITE)):
        fields.append(
            (name, Annotated[flag[bool], arg(help=text)], dataclasses.field(default=False))
        )
    return _dataclass(model, fields)


def _dataclass(like: type, fields: list[Any], bases: tuple[type, ...] = ()) -> Any:
    made = dataclasses.make_dataclass(like.__name__, fields, bases=bases, frozen=True)
    made.__doc__ = like.__doc__
    return made
