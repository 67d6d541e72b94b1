"""Run a training script up to its `train()`, and check the trainer that it made.

`Trainer.train` is replaced while the script runs, in transformers' class and in every subclass that
defines its own, also in those that the script defines. The replacement checks the trainer and ends
the script. Nothing trains. Whatever the script does before `train()` happens: downloads, files,
a tracker's `init`.
"""

from __future__ import annotations

import contextlib
import runpy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from custodes.errors import DataError
from custodes.preflight.result import Report

__all__ = ["caught", "check_script"]


class _Caught(BaseException):
    """Ends the script; no `except Exception` of the script stops it."""


@contextlib.contextmanager
def caught(options: dict[str, Any], reports: list[Report], *, first: bool = True) -> Iterator[None]:
    """Check trainers in the place of training them.

    Args:
        options: For `check`.
        reports: Filled with one report a trainer.
        first: Whether the first trainer ends the body of the ``with``.
    """
    from transformers import Trainer

    from custodes.preflight.run import check

    def train(self: Any, *_: Any, **__: Any) -> Any:
        from transformers.trainer_utils import TrainOutput

        reports.append(check(self, **options))
        if first:
            raise _Caught
        return TrainOutput(0, 0.0, {})

    kept: list[tuple[type, Any]] = []

    def replace(kind: type) -> None:
        if "train" in vars(kind) and vars(kind)["train"] is not train:
            kept.append((kind, vars(kind)["train"]))
            kind.train = train  # type: ignore[attr-defined]

    def subclassed(cls: type, /, **keywords: Any) -> None:
        super(Trainer, cls).__init_subclass__(**keywords)
        replace(cls)

    def descend(kind: type) -> None:
        replace(kind)
        below: type
        for below in kind.__subclasses__():
            descend(below)

    descend(Trainer)
    had = vars(Trainer).get("__init_subclass__")
    Trainer.__init_subclass__ = classmethod(subclassed)
    try:
        with contextlib.suppress(_Caught):
            yield
    finally:
        if had is None:
            del Trainer.__init_subclass__
        else:
            Trainer.__init_subclass__ = had
        for kind, method in kept:
            kind.train = method  # type: ignore[attr-defined]


def check_script(
    path: Path, arguments: Sequence[str] = (), *, every: bool = False, **options: Any
) -> list[Report]:
    """Run a script up to its first `train()`, and check the trainer.

    Args:
        path: The script.
        arguments: Its command line.
        every: Go on after the first `train()`, which returns at once, and check later ones, too.
        options: For `check`.

    Raises:
        DataError: The script is not there, fails, or never calls `train()`.
    """
    if not path.is_file():
        raise DataError(f"there is no script {path}", "give the path of a Python file")
    reports: list[Report] = []
    argv, folders = list(sys.argv), list(sys.path)
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.resolve().parent))
    try:
        with caught(options, reports, first=not every):
            try:
                runpy.run_path(str(path), run_name="__main__")
            except SystemExit as error:
                if error.code not in (None, 0) and not reports:
                    raise DataError(
                        f"{path.name} ended with exit code {error.code} before train()",
                        "pass its arguments after --",
                    ) from error
            except Exception as error:
                text = " ".join(str(error).split())[:300]
                raise DataError(
                    f"{path.name} failed before train(): {type(error).__name__}: {text}",
                    "run it by itself to see where",
                ) from error
    finally:
        sys.argv, sys.path[:] = argv, folders
    if not reports:
        raise DataError(f"{path.name} never called train()", "check a script that trains")
    return reports
