"""Strict readers of files of rows: a malformed line is an error with its number."""

from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from custodes.data.shipped import SHIPPED, shipped_path
from custodes.errors import DataError, near_misses
from custodes.text import one_line

__all__ = ["LONGEST_LINE", "Row", "Table", "open_lenient", "open_table"]

LONGEST_LINE = 16 * 2**20
"""Longest line or cell, in bytes. A file without line ends is not read into memory."""


@dataclass(frozen=True)
class Row:
    """One record of a file.

    Attributes:
        where: File and line (or item, or row), as an error message names it.
        values: Values by column, without null values.
    """

    where: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Table:
    """An open file of rows.

    Attributes:
        name: The name that the user gave.
        stem: The name without folder and suffix, for ids.
        rows: The rows in the file's order, read lazily.
        mine: Whether the user can edit the file, unlike a hub dataset.
    """

    name: str
    stem: str
    rows: Iterator[Row]
    mine: bool = True


Placed = Iterator[tuple[str, Any]]
Reader = Callable[[Path, str], Placed]


def open_table(source: str | Path) -> Table:
    """Open a shipped set, a file, a folder of files, or a hub dataset (``owner/name[:split]``).

    Files are JSON lines, JSON (an array, or lines), CSV, Parquet or text with a prompt a line.
    A shipped name takes precedence over a file or folder, and those over the hub.

    Raises:
        DataError: There is no such source, or (while the rows are read) a line is malformed.
    """
    name = str(source)
    if name in SHIPPED:
        path = shipped_path(name)
        return Table(name, name, _rows(name, _json_lines(path, name)))
    path = Path(name).expanduser()
    if path.is_file():
        read = _READERS.get(path.suffix.lower())
        if read is None:
            raise DataError(f"{name} is of no kind that can be read", "known: " + _SUFFIXES)
        return Table(name, path.stem, _rows(name, read(path, name)))
    dataset, _, split = name.partition(":")
    folder = path.is_dir() or Path(dataset).is_dir()
    if folder or (_HUB_ID.fullmatch(dataset) and path.suffix.lower() not in _READERS):
        dataset = name if path.is_dir() else dataset
        rows = _rows(name, _dataset(dataset, split or "train"))
        return Table(name, Path(dataset).name, rows, mine=folder)
    raise _missing(name, path)


def open_lenient(path: Path, name: str) -> Table:
    """Open a file that some program wrote: empty lines and cells are no mistakes in it.

    Args:
        path: A file; with an unknown suffix it is read as JSON lines.
        name: Its name in messages.

    Raises:
        DataError: The file is missing, or (while the rows are read) a line is malformed.
    """
    if not path.is_file():
        raise _missing(name, path)
    read = _LENIENT.get(path.suffix.lower()) or _READERS.get(path.suffix.lower(), _lenient_lines)
    return Table(name, path.stem, _rows(name, read(path, name)))


_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def _rows(name: str, records: Placed) -> Iterator[Row]:
    for place, record in records:
        where = f"{name} {place}"
        values = {"prompt": record} if isinstance(record, str) else record
        if not isinstance(values, dict):
            kind = type(record).__name__
            raise DataError(f"{where} is a {kind}, not an object", 'write {"prompt": "…"}')
        yield Row(where, {k: v for k, v in values.items() if v is not None})


def _missing(name: str, path: Path) -> DataError:
    if path.suffix.lower() not in _READERS:
        return DataError(
            f"no dataset {name!r}",
            f"name a file ({_SUFFIXES}), a hub id (owner/name), or a shipped set: "
            + near_misses(name, SHIPPED),
        )
    if not path.parent.is_dir():
        return DataError(f"no file {name}: there is no folder {path.parent}", "check the path")
    files = sorted(f.name for f in path.parent.iterdir() if f.suffix.lower() in _READERS)
    close = get_close_matches(path.name, files, n=3)
    if close:
        return DataError(f"no file {name}", f"did you mean {' or '.join(close)}")
    listed = ", ".join(files[:10]) + (", …" if len(files) > 10 else "")
    return DataError(f"no file {name}", f"data files in that folder: {listed or 'none'}")


# Lines


def _lines(path: Path, name: str) -> Iterator[tuple[int, str]]:
    """Yield numbered lines with their line ends, without a byte-order mark."""
    try:
        with path.open("rb") as file:
            number = 0
            while raw := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(raw) > LONGEST_LINE:
                    raise DataError(
                        f"{name} line {number} is longer than {LONGEST_LINE >> 20} MB",
                        "write one record a line",
                    )
                if number == 1:
                    raw = _without_mark(raw, name)
                yield number, _decoded(raw, f"{name} line {number}")
    except OSError as error:
        raise DataError(f"{name} cannot be read ({error.strerror})", "check the file") from error


def _without_mark(raw: bytes, name: str) -> bytes:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{name} is UTF-16", "save it as UTF-8")
    return raw.removeprefix(b"\xef\xbb\xbf")


def _decoded(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        byte, column = raw[error.start], error.start + 1
        raise DataError(
            f"{where} is not UTF-8 (byte 0x{byte:02x} at column {column})",
            "save the file as UTF-8",
        ) from error


def _filled(lines: Iterator[tuple[int, str]], name: str) -> Iterator[tuple[int, str]]:
    """Refuse empty lines, except at the end of the file."""
    empty = 0
    for number, line in lines:
        text = line.rstrip("\r\n")
        if not text.strip():
            empty = empty or number
            continue
        if empty:
            raise DataError(f"{name} line {empty} is empty", "remove it")
        yield number, text


# Kinds of files


def _text(path: Path, name: str) -> Placed:
    for number, line in _filled(_lines(path, name), name):
        yield f"line {number}", line


def _json_lines(path: Path, name: str) -> Placed:
    for number, line in _filled(_lines(path, name), name):
        yield f"line {number}", _parsed(line, f"{name} line {number}")


def _lenient_lines(path: Path, name: str) -> Placed:
    for number, line in _lines(path, name):
        if line.strip():
            yield f"line {number}", _parsed(line, f"{name} line {number}")


def _json(path: Path, name: str, lines: Reader = _json_lines) -> Placed:
    first = next((line for _, line in _lines(path, name) if line.strip()), "")
    if not first.lstrip().startswith("["):
        yield from lines(path, name)
        return
    records = _parsed("".join(line for _, line in _lines(path, name)), name)
    for number, record in enumerate(records, start=1):
        yield f"item {number}", record


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refused)
    except json.JSONDecodeError as error:
        line = "" if "line" in where else f"line {error.lineno} "
        raise DataError(
            f"{where} is not JSON ({error.msg} at {line}column {error.colno})",
            "correct or remove it",
        ) from error
    except (ValueError, RecursionError) as error:  # NaN, huge integers, absurd nesting
        raise DataError(
            f"{where} is not JSON ({one_line(str(error), 80)})", "correct it"
        ) from error


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value")


def _csv(path: Path, name: str, *, lenient: bool = False) -> Placed:
    numbered = _lines(path, name)
    reader = csv.reader((line for _, line in numbered), strict=True)
    header: list[str] | None = None
    empty = 0
    while True:
        start = reader.line_num + 1
        where = f"{name} line {start}"
        try:
            with _long_cells():
                cells = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{where} is not CSV ({error})", "correct its quotes") from error
        if cells is None:
            return
        if not any(cells):
            empty = empty or start
        elif empty and not lenient:
            raise DataError(f"{name} line {empty} is empty", "remove it")
        elif header is None:
            header = _header(cells, where)
        elif len(cells) != len(header):
            raise DataError(
                f"{where} has {len(cells)} cells where the header has {len(header)}",
                'quote cells that contain commas or line ends: "…"',
            )
        else:
            row = zip(header, cells, strict=True)
            yield f"line {start}", {k: v for k, v in row if v or lenient}


def _header(cells: list[str], where: str) -> list[str]:
    header = [cell.strip() for cell in cells]
    twice = next((cell for cell in header if header.count(cell) > 1), None)
    if twice is not None:
        raise DataError(f"{where} has two columns {one_line(twice, 40)!r}", "rename one of them")
    return header


@contextmanager
def _long_cells() -> Iterator[None]:
    before = csv.field_size_limit(LONGEST_LINE)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _parquet(path: Path, name: str) -> Placed:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for record in batch.to_pylist():
                    number += 1
                    yield f"row {number}", record
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        problem = one_line(str(error), 80)
        raise DataError(f"{name} is not a Parquet file ({problem})", "write it anew") from error


_READERS: dict[str, Reader] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
    ".txt": _text,
}
_LENIENT: dict[str, Reader] = {
    ".jsonl": _lenient_lines,
    ".ndjson": _lenient_lines,
    ".json": partial(_json, lines=_lenient_lines),
    ".csv": partial(_csv, lenient=True),
}
_SUFFIXES = " ".join(_READERS)


# Datasets of many files, local or on the hub


def _dataset(name: str, split: str) -> Placed:
    import datasets

    try:
        with _quiet_retries():
            data = datasets.load_dataset(name, split=split)
    except ConnectionError as error:
        raise DataError(
            f"dataset {name} cannot be fetched: the hub does not answer",
            "connect to the network, or name a file (there is no folder of that name here)",
        ) from error
    except datasets.exceptions.DatasetNotFoundError as error:
        raise DataError(
            f"no dataset {name} on the hub, or it is private", "check its name, or log in"
        ) from error
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"dataset {name} ({split}) cannot be loaded: {one_line(str(error))}",
            f"name a split ({name}:SPLIT), or one file of it",
        ) from error
    for number, record in enumerate(data, start=1):
        yield f"row {number}", record


@contextmanager
def _quiet_retries() -> Iterator[None]:
    """Hide the hub client's messages about retries: an error says in one line how they ended."""
    logger = logging.getLogger("huggingface_hub.utils._http")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
