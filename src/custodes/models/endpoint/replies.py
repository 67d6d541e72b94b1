"""Replies of remote models: what a chat completion must hold, and where replies are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from custodes.errors import RunError
from custodes.runs.store import Store

__all__ = ["Reply", "UnusableReplyError", "load_reply", "read_completion", "save_reply"]


class UnusableReplyError(Exception):
    """A server's reply that breaks the protocol. Another try may help."""


@dataclass(frozen=True)
class Reply:
    """One completion of a server.

    Attributes:
        text: The completion, untrusted.
        finish: Why it ended: "stop", "length", …; "" if the server does not say.
        fingerprint: The server's ``system_fingerprint``, "" if it has none.
    """

    text: str
    finish: str = ""
    fingerprint: str = ""


def read_completion(answer: object) -> list[Reply]:
    """Read the body of a chat completion, which may be anything that JSON can hold.

    Raises:
        UnusableReplyError: It is no chat completion.
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


def load_reply(store: Store, request: Mapping[str, Any]) -> Reply | None:
    """Look up the reply to a request; None if it is missing or its file is damaged (disk fault).

    Args:
        store: Several processes may share it. If two of them send the same request at once, both
            pay and the later reply stays.
        request: Everything that determines the reply, as JSON can hold it.
    """
    try:
        return Reply(**store.get(_key(request))["reply"])
    except (KeyError, TypeError, RunError):
        return None


def save_reply(store: Store, request: Mapping[str, Any], reply: Reply) -> None:
    """Keep a reply; it is on disk on return.

    Raises:
        RunError: The disk is full, or the folder cannot be written.
    """
    store.put(_key(request), {"request": request, "reply": asdict(reply)})


def _key(request: Mapping[str, Any]) -> str:
    canonical = json.dumps(request, sort_keys=True, ensure_ascii=True, allow_nan=False)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return f"{digest[:2]}/{digest}"
