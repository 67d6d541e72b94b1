"""Replies of remote models, kept on disk so that none is paid for twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from custodes.runs.files import dumps, write_atomic

__all__ = ["Reply", "ReplyStore", "UnusableReplyError", "read_completion"]


class UnusableReplyError(Exception):
    """A reply that came, but is not what the protocol promises. Worth another try."""


@dataclass(frozen=True)
class Reply:
    """One completion as a server gave it.

    Attributes:
        text: The completion, untrusted.
        finish: Why it ended: "stop", "length", …; "" if the server did not say.
        fingerprint: The server's ``system_fingerprint``, "" if it has none.
    """

    text: str
    finish: str = ""
    fingerprint: str = ""


def read_completion(answer: object) -> list[Reply]:
    """Read the body of a chat completion; nothing about it is taken for granted.

    Raises:
        UnusableReplyError: It is not what a chat completion must be.
    """
    if not isinstance(answer, dict):
        raise UnusableReplyError("no JSON object")
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        complaint = answer.get("error")
        raise UnusableReplyError(f"no choices; it says {complaint}" if complaint else "no choices")
    fingerprint = str(answer.get("system_fingerprint") or "")
    return [_read_choice(choice, fingerprint) for choice in choices]


def _read_choice(choice: object, fingerprint: str) -> Reply:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict) or "content" not in message:
        raise UnusableReplyError("a choice without a message")
    text = message["content"] or ""  # null where a model said nothing
    if not isinstance(text, str):
        raise UnusableReplyError("a message that is no text")
    return Reply(text, str(choice.get("finish_reason") or ""), fingerprint)


class ReplyStore:
    """One small file for each reply, named by the hash of all that determines it.

    A file appears whole or not at all, so any number of processes may share a store, and a process
    that is killed has kept every reply it received. Two processes that ask the same at once both
    pay, and the later one's reply stays. A file that cannot be read (a disk fault) counts as not
    there: its reply is asked for again and the file replaced.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, request: Mapping[str, Any]) -> Reply | None:
        """Look a reply up; ``request`` is JSON-ready and holds all that determines the reply."""
        try:
            return Reply(**json.loads(self._path(request).read_bytes())["reply"])
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return None

    def put(self, request: Mapping[str, Any], reply: Reply) -> None:
        """Keep a reply; it is on disk on return.

        Raises:
            RunError: The disk is full, or the folder cannot be written.
        """
        write_atomic(self._path(request), dumps({"request": request, "reply": asdict(reply)}))

    def _path(self, request: Mapping[str, Any]) -> Path:
        canonical = json.dumps(request, sort_keys=True, ensure_ascii=True, allow_nan=False)
        key = hashlib.sha256(canonical.encode()).hexdigest()
        return self.folder / key[:2] / f"{key}.json"
