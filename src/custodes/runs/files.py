"""Atomic writing of files, with one-line errors where the disk is full or read-only."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from custodes.errors import RunError

__all__ = ["dumps", "explain_disk", "write_atomic", "write_json"]


@contextmanager
def explain_disk(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal to write into one line with a remedy.

    Args:
        path: The file or folder of the message.

    Raises:
        RunError: The disk is full, or the place cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise RunError(
                f"no space left to write {path}",
                "free some space and run the same command again; what was finished is kept",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise RunError(
                f"cannot write {path} ({error.strerror})", "choose another folder with --out"
            ) from error
        raise


def dumps(value: Any) -> str:
    """Encode as one line of ASCII JSON; equal values give equal lines.

    ASCII, because a model's text may hold lone surrogates, which UTF-8 cannot encode, and line
    separators such as U+2028, at which some readers split lines.
    """
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace a whole file: a reader sees the old content or the new content, never a mixture.

    Raises:
        RunError: The disk is full, or the place cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explain_disk(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False) + "\n")
