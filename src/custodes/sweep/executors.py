"""Where runs are executed: `concurrent.futures.Executor`, on this machine or through Dask.

Both keep what a sweep needs: a run that raises is a failure of that run, and one that takes its
process with it (a crash, out of memory) does not take other runs with it. A plain
``ProcessPoolExecutor`` breaks as a whole when one of its processes dies; `LocalExecutor` starts a
new one. Dask restarts the task elsewhere; after ``allowed-failures`` lost workers it gives the
task up. Its default of 3 lets one bad run take down several workers, so here it is 1.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from threading import Lock, Thread
from typing import Any

from custodes.errors import ConfigError, RunError

__all__ = ["LocalExecutor", "connect", "lost_worker"]

ALLOWED_FAILURES = 1
"""A task is tried again once when its Dask worker dies."""

WATCH = 0.5
"""A local process looks this often, in seconds, whether its sweep is still there."""

RETRIES = 1
"""A run is tried again once when its local process dies: it may have been another run's fault."""


class LocalExecutor(Executor):
    """Processes on this machine that survive the death of one of them.

    Every worker is a pool of one process, so that it is known whose run died with it.

    Args:
        workers: Processes; >= 1.
    """

    def __init__(self, workers: int = 1) -> None:
        if workers < 1:
            raise ConfigError(f"{workers} workers", "at least 1")
        # Not forked: threads of numerical libraries do not survive that.
        self._context = multiprocessing.get_context("spawn")
        self._lock = Lock()
        self._idle: list[ProcessPoolExecutor] = [self._pool() for _ in range(workers)]
        self._all = list(self._idle)
        self._queue: list[tuple[Future[Any], Callable[[], Any], int]] = []
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function in some process; see `concurrent.futures.Executor.submit`."""
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the executor was shut down")
            self._queue.append((future, _Call(fn, args, kwargs), RETRIES))
        self._dispatch()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes, after their runs."""
        with self._lock:
            self._closed = True
            waiting = list(self._queue)
            if cancel_futures:
                self._queue.clear()
        if cancel_futures:
            for future, _, _ in waiting:
                future.cancel()
        elif wait:
            for future, _, _ in waiting:
                if not future.cancelled():
                    future.exception()
        for pool in list(self._all):
            pool.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            1, mp_context=self._context, initializer=_end_with, initargs=(os.getpid(),)
        )

    def _dispatch(self) -> None:
        """Hand waiting calls to idle processes."""
        while True:
            with self._lock:
                if not self._queue or not self._idle:
                    return
                future, call, retries = self._queue.pop(0)
                pool = self._idle.pop()
            started = future.running() or future.set_running_or_notify_cancel()
            if not started:
                with self._lock:
                    self._idle.append(pool)
                continue
            try:
                inner = pool.submit(call)
            except BrokenProcessPool as error:
                self._died(future, call, retries, pool, error)
                continue
            inner.add_done_callback(
                partial(self._done, future=future, call=call, retries=retries, pool=pool)
            )

    def _done(
        self,
        done: Future[Any],
        future: Future[Any],
        call: Callable[[], Any],
        retries: int,
        pool: ProcessPoolExecutor,
    ) -> None:
        error = done.exception()
        if isinstance(error, BrokenProcessPool):
            self._died(future, call, retries, pool, error)
        else:
            with self._lock:
                self._idle.append(pool)
            if error is None:
                future.set_result(done.result())
            else:
                future.set_exception(error)
        self._dispatch()

    def _died(
        self,
        future: Future[Any],
        call: Callable[[], Any],
        retries: int,
        pool: ProcessPoolExecutor,
        error: BaseException,
    ) -> None:
        """Replace a dead process; try its run again, or fail it."""
        with self._lock:
            self._all.remove(pool)
            if not self._closed or self._queue or retries:
                fresh = self._pool()
                self._all.append(fresh)
                self._idle.append(fresh)
            if retries:
                self._queue.insert(0, (future, call, retries - 1))
        pool.shutdown(wait=False)
        if not retries:
            future.set_exception(lost_worker(error))


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone.

    A sweep that is killed with -9 cannot end its workers. Left alone they would go on, and hold the
    folders of their runs against the same sweep started again.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


class _Call:
    """A call that can be sent to another process."""

    def __init__(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.fn, self.args, self.kwargs = fn, args, kwargs

    def __call__(self) -> Any:
        return self.fn(*self.args, **self.kwargs)


def connect(scheduler: str, timeout: float = 30.0) -> Executor:
    """Connect to a Dask scheduler and return its executor.

    Args:
        scheduler: Its address, e.g. ``tcp://10.0.0.1:8786``.
        timeout: Seconds to wait for it.

    Raises:
        ConfigError: Dask is not installed.
        RunError: Nobody answers, or a worker has another version of custodes.
    """
    try:
        import dask
        from distributed import Client
    except ImportError as error:
        raise ConfigError(
            "--scheduler needs Dask", "pip install 'custodes[dask]', or leave it out"
        ) from error
    dask.config.set({"distributed.scheduler.allowed-failures": ALLOWED_FAILURES})
    try:
        client = Client(scheduler, timeout=timeout, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise RunError(
            f"no Dask scheduler answers at {scheduler}", "start one: dask scheduler"
        ) from error
    _check_versions(client)
    # What is read by the scheduler is its own setting, not this client's.
    client.run_on_scheduler(_allow_failures, ALLOWED_FAILURES)
    executor: Executor = client.get_executor(pure=False, retries=0)
    return executor


def lost_worker(error: BaseException) -> RunError:
    """Say of a run that its process died."""
    return RunError(
        f"the process of this run died ({type(error).__name__})",
        "most often it ran out of memory: lower the batch, or run fewer at once",
    )


def _allow_failures(n: int, dask_scheduler: Any = None) -> None:
    dask_scheduler.allowed_failures = n


def _code() -> dict[str, str]:
    """Say which code runs in this process; sent to workers by name, so that theirs answers."""
    from custodes.runs import folder

    return folder.code_state()


def _check_versions(client: Any) -> None:
    own = _code()
    found = client.run(_code)
    other = {name: state for name, state in found.items() if state != own}
    if other:
        name, state = next(iter(other.items()))
        client.close()
        raise RunError(
            f"worker {name} has custodes {state['version']} ({state['source']}), this process "
            f"{own['version']} ({own['source']})",
            "install the same version on every worker",
        )
