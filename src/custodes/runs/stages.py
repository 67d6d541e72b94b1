"""Stages of something long, each of which is done once, however often it is begun."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from custodes.errors import RunError
from custodes.runs.files import dumps, explain_disk, write_json

__all__ = ["Stages"]


class Stages:
    """Finished stages in a folder, a JSON file each; the file is written last, as a whole.

    How long each took is in ``timings.jsonl``, apart, since the rest is the same for the same
    input.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what a stage made, making it only if it is not there.

        Args:
            name: Of the stage and, with .json, of its file.
            make: Returns what JSON can hold. Other files that it writes are complete when this
                one is there.

        Raises:
            RunError: The file is there and is not JSON, or cannot be written.
        """
        path = self.folder / f"{name}.json"
        if path.exists():
            try:
                return json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                raise RunError(f"{path} is damaged", "remove it and run again") from None
        began = time.perf_counter()
        made = make()
        write_json(path, made)
        with explain_disk(path), (self.folder / "timings.jsonl").open("a") as handle:
            seconds = round(time.perf_counter() - began, 3)
            handle.write(dumps({"stage": name, "seconds": seconds}) + "\n")
        # As it will be read next time: a tuple has become a list.
        return json.loads(path.read_text(encoding="utf-8"))
