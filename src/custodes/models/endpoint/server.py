"""One OpenAI-compatible server: requests with retries, and errors that say why they failed."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from custodes.errors import ConfigError, EndpointError, near_misses
from custodes.models.endpoint.replies import UnusableReplyError
from custodes.text import one_line

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["Patience", "Remote", "run_async"]

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, and how often to try again.

    Attributes:
        timeout: Seconds for one try, from sending to the end of the reply (> 0).
        tries: Largest number of tries of one request (>= 1).
        pause: Seconds before the second try (>= 0); each further pause is twice as long.
        longest_pause: Longest pause in seconds. If a server demands a longer one by
            ``Retry-After``, there is no further try.
    """

    timeout: float = 120.0
    tries: int = 4
    pause: float = 0.5
    longest_pause: float = 60.0


class Remote:
    """A server's address and how to talk to it.

    The key is read from the environment when a connection is opened (``CUSTODES_API_KEY``, else
    ``OPENAI_API_KEY``, else none) and is kept in no attribute, so no log or dump can show it.

    Attributes:
        url: Base URL, up to and including ``/v1``, without a key in it.
    """

    def __init__(self, url: str, patience: Patience) -> None:
        self.url = _checked_url(url)
        self.patience = patience

    def connect(self) -> AsyncOpenAI:
        """Open a connection pool; an async context manager, of use in one event loop."""
        from openai import AsyncOpenAI

        _silence()
        # ``persist`` retries in place of the client, which retries an exhausted quota, repeats no
        # unreadable reply, and limits the time between two bytes but not that of a whole reply.
        return AsyncOpenAI(
            base_url=self.url, api_key=_key(), timeout=self.patience.timeout, max_retries=0
        )

    async def persist(self, model: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Send a request until there is a usable reply, another try is no use, or none is left.

        Args:
            model: The model's name on the server, for the error message.
            ask: Sends the request once.

        Raises:
            EndpointError: There is no usable reply.
        """
        from openai import APIError

        tried = 0
        while True:
            tried += 1
            try:
                return await asyncio.wait_for(ask(), self.patience.timeout)
            # ValueError: a body that says it is JSON and isn't; the client passes it through.
            except (APIError, UnusableReplyError, ValueError, TimeoutError) as error:
                failure = error
            pause = _pause_after(failure, tried, self.patience)
            if pause is None:
                break
            await asyncio.sleep(pause)
        # Outside the handler: a chained client error would carry the request's headers along.
        models = await self._model_names() if _status(failure) in (400, 404) else []
        raise _explain(failure, model, self, tried, models)

    async def list_models(self) -> list[dict[str, Any]]:
        """List the entries of ``/models``; empty for a server without that route.

        Raises:
            EndpointError: The server cannot be reached, or rejects the key.
        """
        from openai import APIStatusError

        async with self.connect() as client:

            async def ask() -> list[dict[str, Any]]:
                try:
                    body = await client.get("/models", cast_to=object)
                except APIStatusError as error:
                    if error.status_code in (400, 404, 405, 501):
                        return []
                    raise
                listed = body.get("data") if isinstance(body, dict) else None
                return (
                    [m for m in listed if isinstance(m, dict)] if isinstance(listed, list) else []
                )

            return await self.persist("", ask)

    async def _model_names(self) -> list[str]:
        try:
            return [str(model.get("id")) for model in await self.list_models()]
        except EndpointError:
            return []


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, even if an event loop is already running (notebooks)."""
    running = True
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        running = False
    if not running:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def _key() -> str:
    return os.environ.get("CUSTODES_API_KEY") or os.environ.get("OPENAI_API_KEY") or "-"


def _silence() -> None:
    """Keep httpx from logging a line for each request, unless its level was set on purpose.

    It does so at level INFO, which appears as soon as any library configures the root logger. The
    openai client uses httpx or httpx2, as its version has it.
    """
    for name in ("httpx", "httpx2"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"{one_line(url)!r} is no server's address", "write it as http://HOST:PORT/v1"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        # The address is not repeated: what must not be in it may be a key.
        raise ConfigError(
            f"the address of the server at {parts.hostname} holds more than host, port and path",
            "put the key into CUSTODES_API_KEY and leave out user, query and fragment",
        )
    return url.rstrip("/")


def _pause_after(failure: Exception, tried: int, patience: Patience) -> float | None:
    """Return the seconds before the next try; None if there should be none."""
    if tried >= patience.tries:
        return None
    pause = min(patience.pause * 2.0 ** (tried - 1), patience.longest_pause)
    status = _status(failure)
    if status is None:  # no connection, timeout, unreadable reply
        return pause
    if status not in (408, 409, 425, 429) and status < 500:
        return None
    if getattr(failure, "code", None) == "insufficient_quota":
        return None
    demand = _retry_after(failure)
    if demand is None:
        return pause
    return demand if demand <= patience.longest_pause else None


def _status(failure: Exception) -> int | None:
    from openai import APIStatusError

    return failure.status_code if isinstance(failure, APIStatusError) else None


def _retry_after(failure: Exception) -> float | None:
    """Read ``Retry-After``, in seconds: a number or a date (RFC 9110, section 10.2.3)."""
    headers = failure.response.headers  # type: ignore[attr-defined]
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        until, now = _http_seconds(value), _http_seconds(headers.get("date"))
        return None if until is None or now is None else max(0.0, until - now)


def _http_seconds(date: str | None) -> float | None:
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None


def _explain(
    failure: Exception, model: str, remote: Remote, tried: int, names: list[str]
) -> EndpointError:
    """Return an error with the cause of a failure and its remedy.

    Args:
        failure: The last try's failure.
        model: The model's name on the server; "" where a request is for no model.
        remote: The server.
        tried: Number of tries.
        names: The models on the server, where that may explain the failure.
    """
    from openai import APITimeoutError

    who = f"{model} at {remote.url}" if model else remote.url
    times = "once" if tried == 1 else f"{tried} times"
    status = _status(failure)
    if isinstance(failure, APITimeoutError | TimeoutError):
        return EndpointError(
            f"{who} did not answer within {remote.patience.timeout:g} s, asked {times}",
            "see whether the server is overloaded, or allow a longer timeout or less concurrency",
        )
    if isinstance(failure, UnusableReplyError | ValueError):
        unusable = isinstance(failure, UnusableReplyError)
        problem = _quoted(str(failure)) if unusable else "broken JSON"
        return EndpointError(
            f"{who} gave a reply that cannot be used ({problem}), asked {times}",
            "see whether the address is that of an OpenAI-compatible API (it ends in /v1 mostly)",
        )
    if status is None:
        cause = failure.__cause__ or failure
        reason = _quoted(str(cause)) or type(cause).__name__
        return EndpointError(
            f"cannot reach {who} ({reason}), tried {times}",
            "see whether the server is running and the address is right",
        )
    unknown = names and model and model not in names
    return _explain_status(failure, status, who, times, _near(model, names) if unknown else "")


def _near(model: str, names: list[str]) -> str:
    # A vendor has hundreds of models; a short list is more useful than all of them.
    near = names if len(names) <= 12 else get_close_matches(model, names, n=5, cutoff=0.4)
    return near_misses(model, map(one_line, near))


def _explain_status(
    failure: Exception, status: int, who: str, times: str, near: str
) -> EndpointError:
    body = getattr(failure, "body", None)
    message = body.get("message") if isinstance(body, dict) else body
    reason = _quoted(str(message or "no reason given"))
    if status in (401, 403):
        return EndpointError(
            f"{who} rejects the key (HTTP {status}: {reason})",
            "set CUSTODES_API_KEY (or OPENAI_API_KEY) to a key that is good there",
        )
    if near:
        return EndpointError(f"{who} is not among the models there (HTTP {status}: {reason})", near)
    if status == 404:
        return EndpointError(
            f"{who} was not found (HTTP 404: {reason})",
            "see whether the model's name is right and the address ends where the API begins, "
            "mostly in /v1",
        )
    if status == 429:
        return EndpointError(
            f"{who} turns requests away (HTTP 429: {reason}), asked {times}",
            "wait, lower the concurrency or raise the quota; what was answered is kept",
        )
    remedy = (
        "look into the server's log and run the same command again; what was answered is kept"
        if status >= 500
        else "change what the server objects to, or use another server"
    )
    return EndpointError(f"{who} refuses (HTTP {status}: {reason}), asked {times}", remedy)


def _quoted(text: str) -> str:
    """Quote a server: one line, and never the key, which some servers repeat in a refusal."""
    key = _key()
    return one_line(text.replace(key, "[key]") if key != "-" else text)
