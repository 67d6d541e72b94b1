"""An executor for tests of sweeps."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import Any

__all__ = ["Inline"]


class Inline(Executor):
    """Runs at once, in this process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future
