"""A run's folder: its config, its lock, its log and what is rebuilt from the log."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import yaml

from custodes.errors import RunError
from custodes.runs.events import EventLog
from custodes.runs.files import dumps, explain_disk, write_atomic, write_json
from custodes.version import __version__

__all__ = ["RunFolder", "code_state"]


@cache
def code_state() -> dict[str, str]:
    """Say which code ran: the version, and a digest of the package's own source."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return {"version": __version__, "source": digest.hexdigest()[:12]}


class RunFolder:
    """A run, opened for writing by one process at a time. Use it as a context manager.

    Attributes:
        path: The folder.
        log: The event log, the truth of the run.
        resumed: Whether there was something to go on from.
        notes: What a user should be told about the opening (a dropped line, changed code).

    Raises:
        RunError: Another process has the folder, it belongs to another config, or it cannot be
            written.
    """

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self.path = path
        self.notes: list[str] = []
        with explain_disk(path):
            path.mkdir(parents=True, exist_ok=True)
        self._lock = self._take_lock()
        try:
            self._check_config(config)
            self.log = EventLog(path / "events.jsonl")
        except BaseException:
            self._lock.close()
            raise
        self.resumed = bool(self.log.events)
        if self.log.torn:
            self.notes.append(f"dropped a torn last line ({self.log.torn} bytes) of events.jsonl")

    def _take_lock(self) -> IO[str]:
        with explain_disk(self.path):
            handle = (self.path / ".lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            handle.seek(0)
            owner = handle.read().strip() or "unknown"
            handle.close()
            raise RunError(
                f"{self.path} is in use by process {owner}",
                "wait for it, end it, or choose another folder with --out",
            ) from error
        with explain_disk(self.path):
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
        return handle

    def _check_config(self, config: Mapping[str, Any]) -> None:
        path = self.path / "config.yaml"
        if path.exists():
            stored = yaml.safe_load(path.read_text(encoding="utf-8"))
            changed = _differences(stored["config"], dict(config))
            if changed:
                raise RunError(
                    f"{self.path} holds a run with another config ({', '.join(changed)})",
                    "choose another folder with --out, or delete this one",
                )
            if stored["code"] != code_state():
                self.notes.append("the code has changed since this run began")
        elif (self.path / "events.jsonl").exists():
            raise RunError(f"{self.path} has events but no config.yaml", "choose another --out")
        else:
            content = {"code": code_state(), "config": dict(config)}
            write_atomic(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def checkpoint_folder(self, number: int) -> Path:
        """Return where a checkpoint's files belong."""
        return self.path / "checkpoints" / str(number)

    def clock(self, stage: str, seconds: float, **fields: Any) -> None:
        """Note how long something took, apart from the events so that those can be repeated."""
        with explain_disk(self.path), (self.path / "timings.jsonl").open("a") as handle:
            handle.write(dumps({"stage": stage, "seconds": round(seconds, 3), **fields}) + "\n")

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json."""
        write_json(self.path / "summary.json", dict(summary))

    def close(self) -> None:
        """Close the log and let the next process in."""
        self.log.close()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Name the keys, dotted, at which two configs differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(set(old) | set(new))
        return [
            name
            for key in keys
            for name in _differences(old.get(key), new.get(key), f"{prefix}{key}.")
        ]
    return [] if old == new else [prefix.rstrip(".") or "config"]
