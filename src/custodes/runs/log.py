"""An append-only log of JSON lines. A crash costs at most the line that was being written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from custodes.errors import RunError
from custodes.runs.files import dumps, explain_disk

__all__ = ["Log", "Row", "damaged", "read_log"]

Row = dict[str, Any]
"""One line of a log: a JSON object."""


def damaged(path: Path, line: int, reason: object) -> RunError:
    """Return the error for a damaged line of a log.

    Args:
        path: The log.
        line: Number of the line, counted from 1.
        reason: The problem with the line.
    """
    return RunError(
        f"{path} line {line} is damaged ({reason})",
        "restore the file from a copy, or choose another folder with --out",
    )


def read_log(path: Path) -> list[Row]:
    """Read a log without changing it; a missing file is an empty log.

    A crash leaves a last line that lacks its newline or is not a JSON object: it is torn and is
    not read. The same anywhere else is damage.

    Raises:
        RunError: A line before the last is damaged, or the file cannot be read.
    """
    rows, _, _ = _read(path)
    return rows


def _read(path: Path) -> tuple[list[Row], list[int], int]:
    """Return the rows, the offsets at which they end (0 first), and the bytes of a torn line."""
    with explain_disk(path):
        content = path.read_bytes() if path.exists() else b""
    rows: list[Row] = []
    ends = [0]
    *lines, rest = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not a JSON object")
        except (ValueError, RecursionError) as error:
            if number == len(lines) and not rest:
                break
            raise damaged(path, number, error) from error
        rows.append(row)
        ends.append(ends[-1] + len(line) + 1)
    return rows, ends, len(content) - ends[-1]


class Log:
    """A log open for appending. Use it as a context manager.

    Attributes:
        path: The file; created if it does not exist.
        rows: All rows of the file, in order.
        torn: Size in bytes of a torn last line that was removed on opening; 0 if there was none.
    """

    def __init__(self, path: Path) -> None:
        """Open a log and remove a torn last line.

        Raises:
            RunError: A line before the last is damaged, or the file cannot be written.
        """
        self.path = path
        self.rows, self._ends, self.torn = _read(path)
        with explain_disk(path):
            self._handle = path.open("ab")
        if self.torn:
            self.keep(len(self.rows))

    def keep(self, count: int) -> None:
        """Remove all rows but the first ``count``."""
        del self.rows[count:], self._ends[count + 1 :]
        with explain_disk(self.path):
            self._handle.truncate(self._ends[-1])
            os.fsync(self._handle.fileno())

    def append(self, rows: Sequence[Mapping[str, Any]], *, sync: bool = True) -> None:
        """Write rows.

        Args:
            rows: Values that JSON can hold.
            sync: Wait until they are on disk, so that a power failure cannot lose them either.

        Raises:
            RunError: The disk is full.
        """
        lines = [dumps(row).encode() + b"\n" for row in rows]
        with explain_disk(self.path):
            self._handle.write(b"".join(lines))
            self._handle.flush()
            if sync:
                os.fsync(self._handle.fileno())
        for line in lines:
            self.rows.append(json.loads(line))
            self._ends.append(self._ends[-1] + len(line))

    def close(self) -> None:
        """Close the file."""
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
