"""The reader of responses: files as programs save them, and rows that Python code has at hand.

Shapes: our own (``prompt_id``, ``prompt``, ``response``), prompt and completion in the usual
columns, ``messages``, lm-evaluation-harness's ``samples_*.jsonl``, and Inspect's logs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any

from custodes.conversation import Query
from custodes.data.eval_logs import (
    SAMPLE,
    inspect_frame_rows,
    inspect_rows,
    is_inspect_frame,
    is_inspect_log,
    is_lm_eval,
    lm_eval_row,
)
from custodes.data.rows import PROMPT_COLUMNS
from custodes.data.tables import Row, Table, open_lenient
from custodes.errors import DataError
from custodes.text import one_line

__all__ = ["SUFFIXES", "ResponseRow", "ResponseTable", "prompt_hash", "read_response_rows"]

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".parquet", ".eval")
"""Suffixes of response files."""

PROMPTS = (*PROMPT_COLUMNS, "input")
RESPONSES = (
    "response",
    "completion",
    "output",
    "generation",
    "generated_text",
    "prediction",
    "answer",
    "responses",
    "completions",
    "outputs",
)
CONTEXTS = ("context", "input")


@dataclass(frozen=True)
class ResponseRow:
    """One response to one prompt.

    Attributes:
        where: The row's place, for messages.
        prompt_id: The file's, else a hash of the prompt.
        prompt: The prompt's text; a conversation without its system prompt.
        response: The response, untrusted, possibly empty.
    """

    where: str
    prompt_id: str
    prompt: str
    response: str


@dataclass
class ResponseTable:
    """The responses of one source.

    Attributes:
        name: Name of the source.
        rows: The responses, in order; read lazily.
        notes: What a reader should know, one line each; complete once the rows are read.
    """

    name: str
    rows: Iterator[ResponseRow]
    notes: list[str] = field(default_factory=list)


def prompt_hash(prompt: str) -> str:
    """Return the id of a prompt that has none."""
    return hashlib.sha256(prompt.encode("utf-8", "replace")).hexdigest()[:12]


def read_response_rows(
    source: Any,
    name: str | None = None,
    *,
    prompt_column: str | None = None,
    response_column: str | None = None,
) -> ResponseTable:
    """Read responses.

    Args:
        source: A file (JSONL, JSON, CSV, Parquet, or a log of Inspect), a list of dicts, a dict of
            columns, a pandas or polars data frame, or a data set of ``datasets``.
        name: Name of the source in messages and reports; by default that of the file.
        prompt_column: The column of the prompt; by default the first of the usual ones.
        response_column: The column of the response; likewise. It may hold lists of responses.

    Raises:
        DataError: The source is missing or malformed (also while the rows are read), or its columns
            are unknown: the message has the columns seen and those wanted.
    """
    table = _open(source, name)
    result = ResponseTable(table.name, iter(()))
    first = next(table.rows, None)
    if first is None:
        return result
    rows: Iterator[Row] = chain([first], table.rows)
    if prompt_column is None and response_column is None:
        if is_lm_eval(first.values):
            rows = _lm_eval(rows, result)
        elif is_inspect_frame(first.values) and "response" not in first.values:
            rows = inspect_frame_rows(rows, table.name)
    reader = _Reader(result, prompt_column, response_column)
    result.rows = reader.read(rows)
    return result


def _open(source: Any, name: str | None) -> Table:
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        name = name or str(source)
        if path.is_file() and is_inspect_log(path):
            return Table(name, path.stem, inspect_rows(path, name))
        return open_lenient(path, name)
    name = name or "responses"
    return Table(name, name, _placed(_records(source, name), name))


def _records(source: Any, name: str) -> Iterable[Any]:
    """Return the rows of what Python code has at hand."""
    if hasattr(source, "to_dicts"):  # polars
        return source.to_dicts()  # type: ignore[no-any-return]
    if hasattr(source, "columns") and hasattr(source, "to_dict"):  # pandas
        return source.to_dict("records")  # type: ignore[no-any-return]
    if isinstance(source, Mapping):
        columns = {key: value for key, value in source.items() if isinstance(value, list | tuple)}
        if len(columns) != len(source) or not columns:
            raise DataError(
                f"{name} is a dict of {', '.join(map(str, list(source)[:5])) or 'nothing'}",
                "give a list of rows, or one split of a data set",
            )
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if isinstance(source, Iterable):
        return source
    raise DataError(
        f"{name} is a {type(source).__name__}",
        "give a file, a list of dicts, a data frame or a data set",
    )


def _placed(records: Iterable[Any], name: str) -> Iterator[Row]:
    for number, record in enumerate(records, start=1):
        where = f"{name} row {number}"
        if not isinstance(record, Mapping):
            raise DataError(f"{where} is a {type(record).__name__}", "rows are dicts")
        values = {str(k): _plain(v) for k, v in record.items()}
        yield Row(where, {k: v for k, v in values.items() if v is not None})


def _plain(value: Any) -> Any:
    """Return a data frame's value as Python has it; None for a missing one."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    missing = isinstance(value, float) and math.isnan(value)
    return None if missing or type(value).__name__ in ("NAType", "NaTType") else value


def _lm_eval(rows: Iterable[Row], result: ResponseTable) -> Iterator[Row]:
    seen: set[tuple[Any, Any]] = set()
    total = 0
    for row in rows:
        total += 1
        if not is_lm_eval(row.values):
            raise DataError(f"{row.where} is no sample of lm-eval", "compare files of one task")
        sample = lm_eval_row(row, seen)
        if sample is not None:
            yield sample
    if total > len(seen):
        result.notes.append(
            f"{result.name}: {len(seen)} samples, logged {total} times for several filters"
        )


class _Reader:
    """Reads rows whose columns are settled by the first one."""

    def __init__(
        self, result: ResponseTable, prompt_column: str | None, response_column: str | None
    ) -> None:
        self._result = result
        self._prompt, self._response = prompt_column, response_column
        self._failed = 0
        self._unread: dict[str, None] = {}

    def read(self, rows: Iterable[Row]) -> Iterator[ResponseRow]:
        for number, row in enumerate(rows):
            if number == 0:
                self._settle(row)
            if SAMPLE in row.values and "response" not in row.values:
                self._failed += 1
                continue
            yield from self._responses(row)
        name = self._result.name
        if self._failed:
            self._result.notes.append(
                f"{name}: {self._failed} samples without a response (errors) are left out"
            )
        if (self._prompt, self._response) not in (("prompt", "response"), ("messages", "messages")):
            self._result.notes.append(
                f"{name}: prompts from {self._prompt!r}, responses from {self._response!r}"
            )
        if self._unread:
            columns = ", ".join(sorted(one_line(column, 40) for column in self._unread)[:5])
            self._result.notes.append(f"{name}: fields not read: {columns}")

    def _settle(self, row: Row) -> None:
        """Choose the columns, by those of the first row."""
        seen = row.values
        for column in (self._prompt, self._response):
            if column is not None and column not in seen:
                close = get_close_matches(column, seen, n=2)
                raise DataError(
                    f"{row.where} has no column {one_line(column, 40)!r} "
                    f"(it has {self._listed(row)})",
                    f"did you mean {' or '.join(close)}?" if close else "name one of these",
                )
        if self._response is None:
            self._response = next((c for c in RESPONSES if c in seen and c != self._prompt), None)
        if self._response is None and "messages" in seen and self._prompt in (None, "messages"):
            self._prompt = self._response = "messages"
        if SAMPLE in seen:  # Inspect: the first sample may have failed
            self._response = self._response or "response"
        if self._prompt is None:
            names = (*PROMPTS, "messages")
            self._prompt = next((c for c in names if c in seen and c != self._response), None)
        if self._prompt is None or self._response is None:
            missing = "prompt" if self._prompt is None else "response"
            raise DataError(
                f"{row.where} has no {missing}: it has the columns {self._listed(row)}",
                f"it needs prompt (or {', '.join(PROMPTS[1:])}, messages) and response (or "
                f"{', '.join(RESPONSES[1:7])}); name others with --prompt-column and "
                "--response-column",
            )

    def _listed(self, row: Row) -> str:
        return ", ".join(one_line(str(c), 40) for c in list(row.values)[:20]) or "none"

    def _responses(self, row: Row) -> Iterator[ResponseRow]:
        assert self._prompt is not None
        assert self._response is not None
        used = {self._prompt, self._response, "prompt_id", SAMPLE}
        missing = [c for c in (self._prompt, self._response) if c not in row.values]
        if missing:
            raise DataError(f"{row.where} has no {missing[0]}", f"it has {self._listed(row)}")
        value = row.values[self._response]
        if self._prompt == self._response:
            prompt, texts = self._split(row, value)
        else:
            prompt = self._text(row, self._prompt)
            context = self._context(row)
            if context is not None:
                used.add(context)
                prompt = f"{prompt}\n\n{row.values[context]}"
            texts = self._texts(row, value)
        prompt = _clean(prompt)
        prompt_id = self._id(row, prompt)
        for text in texts:
            yield ResponseRow(row.where, prompt_id, prompt, text)
        self._unread.update(dict.fromkeys(c for c in row.values if c not in used))

    def _context(self, row: Row) -> str | None:
        """Return the column of the material that an instruction is about, where there is some."""
        if self._prompt not in PROMPT_COLUMNS:
            return None
        other = (self._prompt, self._response)
        names = (c for c in CONTEXTS if c in row.values and c not in other)
        return next((c for c in names if isinstance(row.values[c], str) and row.values[c]), None)

    def _id(self, row: Row, prompt: str) -> str:
        value = row.values.get("prompt_id")
        if value is None:
            return prompt_hash(prompt)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise DataError(
                f"{row.where} has a prompt_id that is {type(value).__name__}", "make it a string"
            )
        if not str(value).strip():
            raise DataError(f"{row.where} has an empty prompt_id", "name every prompt")
        return _clean(str(value))

    def _text(self, row: Row, column: str) -> str:
        """Return a text, or the transcript of a conversation."""
        value = row.values[column]
        if isinstance(value, list):
            return _transcript(_turns(value, f"{row.where}: {column}"))
        if isinstance(value, str):
            return value
        raise DataError(
            f"{row.where} has a {column} that is {type(value).__name__}", "make it a string"
        )

    def _texts(self, row: Row, value: Any) -> list[str]:
        """Return one response or several; a completion may be messages, too."""
        column = str(self._response)
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return value
        if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            if any("role" in item for item in value if isinstance(item, Mapping)):
                return [_last(_turns(value, f"{row.where}: {column}"), f"{row.where}: {column}")]
            return [_content(value)]
        if isinstance(value, str):
            return [value]
        raise DataError(
            f"{row.where} has a {column} that is {type(value).__name__}",
            "make it a string, or a list of strings",
        )

    def _split(self, row: Row, value: Any) -> tuple[str, list[str]]:
        """Split a conversation into the prompt and the last answer."""
        where = f"{row.where}: {self._prompt}"
        if not isinstance(value, list):
            raise DataError(f"{where} is {type(value).__name__}", "it is a list of messages")
        turns = _turns(value, where)
        last = _last(turns, where)
        return _transcript(turns[:-1]), [last]


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _turns(value: Sequence[Any], where: str) -> list[tuple[str, str]]:
    """Read messages leniently: other roles (tool) and contents in parts are as logs have them."""
    turns = []
    for number, turn in enumerate(value, start=1):
        if not isinstance(turn, Mapping) or "role" not in turn:
            raise DataError(f"{where} message {number} has no role", "see OpenAI's messages")
        turns.append((str(turn["role"]), _content(turn.get("content"))))
    return turns


def _content(value: Any) -> str:
    if isinstance(value, list):
        parts = (part.get("text") for part in value if isinstance(part, Mapping))
        return "\n".join(part for part in parts if isinstance(part, str))
    return value if isinstance(value, str) else ""


def _last(turns: Sequence[tuple[str, str]], where: str) -> str:
    if not turns or turns[-1][0] != "assistant":
        raise DataError(f"{where} does not end with an answer", "end it with the assistant's turn")
    return turns[-1][1]


def _transcript(turns: Sequence[tuple[str, str]]) -> str:
    """Return a conversation as one text, the same for all system prompts."""
    if all(role == "system" for role, _ in turns):
        return "\n\n".join(content for _, content in turns)
    chat = tuple({"role": role, "content": content} for role, content in turns)
    return Query("", chat).transcript  # type: ignore[arg-type]
