"""A keyed store: one JSON file for each key, written as a whole or not at all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from custodes.errors import RunError
from custodes.runs.files import explain_disk, write_json
from custodes.runs.log import Log

__all__ = ["Store"]


class Store:
    """Values in a folder. Several processes may share it.

    Each value is in a file that appears whole or not at all. If two processes write the same key,
    the later value stays.

    Attributes:
        folder: The folder; created with the first value.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Return the file of a key; a slash in the key makes a subfolder."""
        return self.folder / f"{key}.json"

    def get(self, key: str) -> Any:
        """Return the value of a key, as JSON reads it.

        Raises:
            KeyError: There is no such value.
            RunError: The file is damaged or cannot be read.
        """
        path = self.path(key)
        try:
            with explain_disk(path):
                return json.loads(path.read_bytes())
        except FileNotFoundError:
            raise KeyError(key) from None
        except (ValueError, RecursionError):
            raise RunError(f"{path} is damaged", "remove it and run again") from None

    def put(self, key: str, value: Any) -> None:
        """Write a value and wait until it is on disk.

        Raises:
            RunError: The disk is full, or the folder cannot be written.
        """
        write_json(self.path(key), value)

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """Return the value of a key if it is there; otherwise make and write it.

        How long it took is appended to ``timings.jsonl``, apart from the values, so that those
        are the same bytes for the same input.

        Args:
            key: Key of the value.
            make: Returns a value that JSON can hold. Other files that it writes are complete
                once the value is there.

        Raises:
            RunError: The file is damaged or cannot be written.
        """
        try:
            return self.get(key)
        except KeyError:
            start = time.perf_counter()
        self.put(key, make())
        seconds = round(time.perf_counter() - start, 3)
        with Log(self.folder / "timings.jsonl") as timings:
            timings.append([{"stage": key, "seconds": seconds}], sync=False)
        # As the next process will read it: a tuple has become a list.
        return self.get(key)
