"""A file of JSON lines that grows batch by batch; a crash costs at most the last of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from custodes.errors import RunError
from custodes.runs.files import dumps, explain_disk

__all__ = ["RowFile"]


class RowFile:
    """Rows on disk, open for appending. Use it as a context manager.

    Attributes:
        path: The file; made if it is not there.
        rows: Everything in it, in order.
        torn: Bytes of an unfinished last line that were dropped on opening.
    """

    def __init__(self, path: Path) -> None:
        """Open a file, and drop what a crash left half written at its end.

        Raises:
            RunError: A line before the last is damaged, or the file cannot be written.
        """
        self.path = path
        with explain_disk(path):
            data = path.read_bytes() if path.exists() else b""
        self.rows: list[dict[str, Any]] = []
        self._ends = [0]
        *lines, rest = data.split(b"\n")
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("it is no object")
            except (ValueError, RecursionError) as error:
                if number == len(lines) and not rest:
                    break
                raise RunError(
                    f"{path} line {number} is damaged",
                    "restore the file from a copy, or choose another folder with --out",
                ) from error
            self.rows.append(row)
            self._ends.append(self._ends[-1] + len(line) + 1)
        self.torn = len(data) - self._ends[-1]
        with explain_disk(path):
            self._handle = path.open("ab")
        if self.torn:
            self.keep(len(self.rows))

    def keep(self, count: int) -> None:
        """Drop all rows but the first ``count``."""
        del self.rows[count:], self._ends[count + 1 :]
        with explain_disk(self.path):
            self._handle.truncate(self._ends[-1])
            os.fsync(self._handle.fileno())

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows and wait until they are on disk.

        Raises:
            RunError: The disk is full.
        """
        lines = [dumps(row).encode() + b"\n" for row in rows]
        with explain_disk(self.path):
            self._handle.write(b"".join(lines))
            self._handle.flush()
            os.fsync(self._handle.fileno())
        for line in lines:
            self.rows.append(json.loads(line))
            self._ends.append(self._ends[-1] + len(line))

    def close(self) -> None:
        """Close the file."""
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
