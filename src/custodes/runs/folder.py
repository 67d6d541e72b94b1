"""A run's folder: its config, its lock, its event log, its timings and its summary."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self

import yaml
from filelock import FileLock, Timeout

from custodes.errors import RunError
from custodes.runs.events import EventLog
from custodes.runs.files import explain_disk, write_atomic, write_json
from custodes.runs.log import Log
from custodes.version import __version__

__all__ = ["RunFolder", "code_state"]


@cache
def code_state() -> dict[str, str]:
    """Return the version of custodes and a digest of its source code."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return {"version": __version__, "source": digest.hexdigest()[:12]}


class RunFolder:
    """A run, opened for writing by one process at a time. Use it as a context manager.

    Attributes:
        path: The folder.
        log: The event log. Everything else in the folder can be rebuilt from it.
        resumed: Whether an earlier process has written events.
        notes: Messages for the user about the opening (a torn line, changed code).

    Raises:
        RunError: Another process has the folder open, it belongs to another config, or it cannot
            be written.
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
            self._timings = Log(path / "timings.jsonl")
        except BaseException:
            self._lock.release()
            raise
        self.resumed = bool(self.log.events)
        if self.log.torn:
            self.notes.append(f"dropped a torn last line ({self.log.torn} bytes) of events.jsonl")

    def _take_lock(self) -> FileLock:
        """Lock the folder; the system unlocks it when this process ends, however it ends."""
        lock = FileLock(self.path / ".lock", thread_local=False)
        # In a file of its own: Windows lets no other process read a locked file.
        owner = self.path / ".lock_owner"
        try:
            with explain_disk(self.path):
                lock.acquire(timeout=0)
        except Timeout as error:
            process = owner.read_text(encoding="utf-8") if owner.exists() else "unknown"
            raise RunError(
                f"{self.path} is in use by process {process}",
                "wait for it, end it, or choose another folder with --out",
            ) from error
        try:
            write_atomic(owner, str(os.getpid()))
        except BaseException:
            lock.release()
            raise
        return lock

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
        """Return the folder of a checkpoint's files."""
        return self.path / "checkpoints" / str(number)

    def clock(self, stage: str, seconds: float, **fields: Any) -> None:
        """Append a time to timings.jsonl, apart from the events, which a repeated run repeats.

        Args:
            stage: Name of the stage.
            seconds: Its duration in seconds.
            **fields: Further costs, such as tokens.
        """
        row = {"stage": stage, "seconds": round(seconds, 3), **fields}
        self._timings.append([row], sync=False)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json."""
        write_json(self.path / "summary.json", dict(summary))

    def close(self) -> None:
        """Close the logs and unlock the folder."""
        try:
            self.log.close()
            self._timings.close()
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """List the dotted keys at which two configs differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(set(old) | set(new))
        return [
            name
            for key in keys
            for name in _differences(old.get(key), new.get(key), f"{prefix}{key}.")
        ]
    return [] if old == new else [prefix.rstrip(".") or "config"]
