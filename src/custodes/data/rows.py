"""Reading of rows: columns by their usual names, texts, ids, and conversations."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from itertools import groupby
from typing import Any, Protocol, TypeVar

from custodes.conversation import Message
from custodes.data.tables import Row, Table
from custodes.errors import CustodesWarning, DataError, near_misses
from custodes.text import one_line

__all__ = [
    "PROMPT_COLUMNS",
    "RESPONSE_COLUMNS",
    "answer_of",
    "column_of",
    "item_id",
    "prompt_of",
    "read_items",
    "share_of",
    "string_of",
]

PROMPT_COLUMNS = ("prompt", "instruction", "question", "query")
CONTEXT_COLUMNS = ("context", "input")
RESPONSE_COLUMNS = ("response", "output", "answer", "completion")
ROLES = ("system", "user", "assistant")

UNUSABLE_SHARE = 0.05
"""Up to this share of malformed rows is skipped in a hub dataset, which the user cannot correct."""


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Identified)


def read_items(table: Table, parse: Callable[[Row], T | None]) -> list[T]:
    """Parse all rows into items with distinct ids; a warning counts the rows that are left out."""
    items: dict[str, T] = {}
    first: dict[str, str] = {}
    unusable: list[DataError] = []
    total = repeated = 0
    for row in table.rows:
        total += 1
        try:
            item = parse(row)
            if item is not None and item.id in first and "id" in row.values:
                raise DataError(
                    f"{row.where} has the id {one_line(item.id, 40)!r} of {first[item.id]}",
                    "give every line its own id, or none",
                )
        except DataError as error:
            if table.mine:
                raise
            unusable.append(error)
            continue
        if item is None:
            continue
        repeated += item.id in first
        first.setdefault(item.id, row.where.removeprefix(f"{table.name} "))
        items.setdefault(item.id, item)
    if total == 0:
        raise DataError(f"{table.name} is empty", "put at least one line in it")
    if len(unusable) > UNUSABLE_SHARE * total:
        raise unusable[0]
    if unusable:
        warning = (
            f"{len(unusable)} of {total} rows of {table.name} cannot be used, first {unusable[0]}"
        )
        warnings.warn(warning, CustodesWarning, stacklevel=3)
    if repeated:
        warning = f"{repeated} of {total} rows of {table.name} repeat another and are read once"
        warnings.warn(warning, CustodesWarning, stacklevel=3)
    return list(items.values())


def item_id(row: Row, stem: str, content: Any) -> str:
    """Return the row's id (a number with the file's name), else a hash of the content."""
    value = row.values.get("id")
    if value is None:
        text = json.dumps(content, ensure_ascii=True, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise DataError(f"{row.where}: its id is no text or number", "write one, or leave it out")
    # Counting from 0 is what every other file does too.
    return f"{stem}-{value}" if str(value).isdigit() else str(value)


def share_of(row: Row, column: str) -> float:
    """Return a column's share in (0, 1]; 1 where the row has none."""
    value = row.values.get(column, 1.0)
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = -1.0
    if not 0 < share <= 1:
        raise DataError(
            f"{row.where}: {column} is {one_line(repr(value), 40)}", "it is a share in (0, 1]"
        )
    return share


def column_of(row: Row, names: Sequence[str]) -> str:
    """Return the first of these columns that the row has."""
    for column in names:
        if column in row.values:
            return column
    columns = [one_line(str(column), 40) for column in list(row.values)[:20]]
    close = {match for name in names for match in get_close_matches(name, columns, n=1)}
    raise DataError(
        f"{row.where} has no {' or '.join(names)} (it has {', '.join(columns) or 'nothing'})",
        f"did you mean {' or '.join(sorted(close))}?" if close else f"add a column {names[0]}",
    )


def string_of(row: Row, column: str) -> str:
    """Return a column's text, which is neither empty nor impossible to encode."""
    text = row.values[column]
    if not isinstance(text, str):
        raise DataError(f"{row.where}: {column} is a {type(text).__name__}", "write text")
    return checked(text, f"{row.where}: {column}")


def checked(text: str, what: str) -> str:
    """Return a text that is neither empty nor impossible to encode."""
    if not text.strip():
        raise DataError(f"{what} is empty", "fill it or remove the line")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{what} has half a character (a lone surrogate)", "correct it") from error
    return text


# Conversations


def prompt_of(row: Row) -> tuple[Message, ...]:
    """Return the conversation up to the user's last turn."""
    column = column_of(row, (*PROMPT_COLUMNS, "messages", "chosen", "text"))
    value = row.values[column]
    if column in ("messages", "chosen"):
        turns = _turns(row, column)
        answered = turns[-1]["role"] == "assistant"
        return _due(turns[:-1] if answered else turns, f"{row.where}: {column}")
    if isinstance(value, list) or _is_transcript(value):
        return _due(_turns(row, column), f"{row.where}: {column}")
    text = string_of(row, column)
    context = next((row.values[c] for c in CONTEXT_COLUMNS if row.values.get(c)), None)
    if context is not None and not isinstance(context, str):
        raise DataError(f"{row.where}: its context is a {type(context).__name__}", "write text")
    return ({"role": "user", "content": f"{text}\n\n{context}" if context else text},)


def answer_of(row: Row, column: str) -> tuple[tuple[Message, ...], str]:
    """Split a column into the conversation before it, () if it has none, and the answer."""
    value = row.values[column_of(row, (column,))]
    prompted = any(name in row.values for name in PROMPT_COLUMNS)
    if not isinstance(value, list) and (prompted or not _is_transcript(value)):
        return (), string_of(row, column)
    *before, last = _turns(row, column)
    what = f"{row.where}: {column}"
    if last["role"] != "assistant":
        raise DataError(f"{what} does not end with an answer", "end it with the assistant's turn")
    return (_due(tuple(before), what) if before else ()), last["content"]


def _due(turns: tuple[Message, ...], what: str) -> tuple[Message, ...]:
    if not turns or turns[-1]["role"] != "user":
        raise DataError(f"{what} leaves no answer due", "end it with the user's turn")
    return turns


def _turns(row: Row, column: str) -> tuple[Message, ...]:
    """Read messages or a transcript, which begin with the user (after a system message, if any)."""
    value, what = row.values[column], f"{row.where}: {column}"
    turns = _messages(value, what) if isinstance(value, list) else _transcript(value, what)
    roles = [turn["role"] for turn in turns if turn["role"] != "system"]
    if not roles:
        raise DataError(f"{what} has no turns", "write at least the user's")
    if roles[0] != "user" and len(roles) > 1:
        raise DataError(f"{what} does not begin with the user", "begin with the user's turn")
    return tuple(turns)


def _messages(value: list[Any], what: str) -> list[Message]:
    turns: list[Message] = []
    for number, turn in enumerate(value, start=1):
        at = f"{what} message {number}"
        if not isinstance(turn, dict) or not {"role", "content"} <= turn.keys():
            raise DataError(f"{at} has no role and content", "see OpenAI's messages")
        if turn["role"] not in ROLES:
            role = one_line(str(turn["role"]), 40)
            raise DataError(f"{at} is of role {role!r}", near_misses(role, ROLES))
        if not isinstance(turn["content"], str):
            raise DataError(f"{at}: its content is no text", "write text")
        turns.append({"role": turn["role"], "content": checked(turn["content"], at)})
    return turns


_SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):")


def _is_transcript(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    # An answer may begin with "Human:" too, but only a transcript also has the Assistant's turn.
    return value.lstrip("\n").startswith("Human:") and "\n\nAssistant:" in value


def _transcript(value: Any, what: str) -> list[Message]:
    """Read an hh-rlhf transcript.

    Consecutive turns of one speaker become one turn. An empty "Assistant:" at the end marks the
    place of the answer and is no turn.
    """
    if not isinstance(value, str):
        raise DataError(f"{what} is a {type(value).__name__}", "write text or messages")
    if not _is_transcript(value):
        raise DataError(f"{what} is no conversation", "add a prompt, or write it as messages")
    _, *parts = _SPEAKER.split(value.strip("\n"))
    speeches = list(zip(parts[::2], parts[1::2], strict=True))
    if speeches[-1][0] == "Assistant" and not speeches[-1][1].strip():
        speeches.pop()
    turns: list[Message] = []
    for speaker, words in groupby(speeches, key=lambda part: part[0]):
        text = "\n\n".join(part[1].strip() for part in words).strip()
        at = f"{what} turn {len(turns) + 1}"
        role = "user" if speaker == "Human" else "assistant"
        turns.append({"role": role, "content": checked(text, at)})  # type: ignore[typeddict-item]
    return turns
