"""A run's folder: its config, its lock, its event log, its timings and its summary."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
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

__all__ = ["RunFolder", "code_state", "overwriting"]

# What opening a folder leaves in it.
_BOOKKEEPING = ("config.yaml", "events.jsonl", "timings.jsonl", ".lock", ".lock_owner")


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

    A folder belongs to a config from the first finished piece of work on: after a start that fails
    (a model that does not exist, a server that does not answer) another config may use it.

    Args:
        path: The folder; made if it does not exist.
        config: The run's config, JSON-ready.
        grows: A key of the config whose number may be raised in a folder that has a run.
        ending: The kinds of the events that end a run. They are dropped when it grows.

    Attributes:
        path: The folder.
        log: The event log. Everything else in the folder can be rebuilt from it.
        resumed: Whether an earlier process has written events.
        notes: Messages for the user about the opening (a torn line, changed code).

    Raises:
        RunError: Another process has the folder open, it belongs to another config, or it cannot
            be written.
    """

    def __init__(
        self,
        path: Path,
        config: Mapping[str, Any],
        *,
        grows: str = "",
        ending: Collection[str] = (),
    ) -> None:
        self.path = path
        self.notes: list[str] = []
        self._grows, self._ending = grows, ending
        self._made = not path.exists()
        with explain_disk(path):
            path.mkdir(parents=True, exist_ok=True)
        # Files of the user's that were there before any run was.
        self._others = (
            set()
            if (path / "config.yaml").exists()
            else {other.name for other in path.iterdir()} - set(_BOOKKEEPING)
        )
        self._lock = self._take_lock()
        try:
            self._check_config(config)
            self.log = EventLog(path / "events.jsonl")
            self._timings = Log(path / "timings.jsonl")
        except BaseException:
            self._leave()
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
        if path.exists() and not _unclaimed(self.path):
            stored = yaml.safe_load(path.read_text(encoding="utf-8"))
            changed = _differences(stored["config"], dict(config))
            if changed == [self._grows]:
                self._grow(stored["config"][self._grows], config[self._grows])
                write_atomic(path, _dumped(config, stored["code"]))
            elif changed:
                raise RunError(
                    f"{self.path} holds a run with another config ({', '.join(changed)})",
                    "choose another folder with --out, or --overwrite this one",
                )
            if stored["code"] != code_state():
                self.notes.append("the code has changed since this run began")
        elif _has_content(self.path / "events.jsonl"):
            raise RunError(f"{self.path} has events but no config.yaml", "choose another --out")
        else:
            write_atomic(path, _dumped(config, code_state()))

    def _grow(self, old: int, new: int) -> None:
        """Let a run go on beyond its end: drop the events that ended it."""
        if new < old:
            raise RunError(
                f"{self.path} holds a run of {old} {self._grows}, which can grow but not shrink "
                f"to {new}",
                "choose another folder with --out, or --overwrite this one",
            )
        # The log first: killed between the two, the next start finds a run that is to grow.
        log = EventLog(self.path / "events.jsonl")
        try:
            log.drop_last(self._ending)
        finally:
            log.close()
        self.notes.append(f"the run grows from {old} to {new} {self._grows}")

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
        """Close the logs and unlock the folder; one in which nothing was finished goes."""
        try:
            self.log.close()
            self._timings.close()
        finally:
            self._leave()

    def _leave(self) -> None:
        # While the lock is held, so that no other process is in the folder.
        if _unclaimed(self.path, self._others):
            for name in _BOOKKEEPING:
                with suppress(OSError):  # Windows removes no locked file
                    (self.path / name).unlink(missing_ok=True)
            if self._made:
                with suppress(OSError):
                    self.path.rmdir()
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


def _dumped(config: Mapping[str, Any], code: Mapping[str, str]) -> str:
    content = {"code": dict(code), "config": dict(config)}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _unclaimed(folder: Path, others: Collection[str] = ()) -> bool:
    """Whether nothing was finished in a folder: it has what opening it leaves, and ``others``."""
    return not any(
        path.name not in _BOOKKEEPING or (path.suffix == ".jsonl" and _has_content(path))
        for path in folder.iterdir()
        if path.name not in others
    )


@contextmanager
def overwriting(folder: Path, overwrite: bool = True) -> Iterator[None]:
    """Replace the run in a folder by the one that is started inside the ``with``.

    The old run is set aside, and removed once the new one has finished a first piece of work; if
    it never does, the old run is put back.

    Args:
        folder: The folder of both runs.
        overwrite: Whether to do so; False leaves the folder as it is.

    Raises:
        RunError: The folder holds something, but no run, or another process is using it.
    """
    if not overwrite or not folder.exists() or not any(folder.iterdir()):
        yield
        return
    _require_run(folder)
    aside = folder.with_name(f".{folder.name}.replaced")
    with explain_disk(folder):
        if aside.exists():
            shutil.rmtree(aside)
        folder.rename(aside)
    try:
        yield
    finally:
        if folder.exists() and not _unclaimed(folder):
            shutil.rmtree(aside, ignore_errors=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            aside.rename(folder)


def _require_run(folder: Path) -> None:
    try:
        stored = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        stored = None
    if not isinstance(stored, dict) or set(stored) != {"code", "config"} or folder.is_symlink():
        raise RunError(
            f"{folder} is not the folder of a run, and nothing in it was removed",
            "choose another folder with --out",
        )
    lock = FileLock(folder / ".lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunError(
            f"{folder} is in use by another process", "wait for it, or end it"
        ) from error
    lock.release()
