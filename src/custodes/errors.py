"""Errors a user can act on: one line that names the cause and the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "ConfigError",
    "CustodesError",
    "CustodesWarning",
    "DataError",
    "EndpointError",
    "ModelError",
    "RunError",
    "UsageError",
    "near_misses",
]


class CustodesError(Exception):
    """A mistake or failure that is not a bug in custodes.

    The command line prints it as one line and exits with 2; it never shows a traceback for it.

    Args:
        cause: What went wrong, with the offending value in it.
        remedy: What the user can do about it.
    """

    def __init__(self, cause: str, remedy: str = "") -> None:
        self.cause = cause.rstrip(".")
        self.remedy = remedy.rstrip(".")
        super().__init__(self.cause + (f": {self.remedy}" if self.remedy else ""))


class UsageError(CustodesError):
    """A command line that cannot be meant as it stands."""


class ConfigError(CustodesError):
    """A config file or override that cannot be meant as it stands."""


class DataError(CustodesError):
    """A data file that is missing, empty or malformed (the message has the line number)."""


class ModelError(CustodesError):
    """A model that cannot be named, found, fetched or loaded."""


class EndpointError(CustodesError):
    """A remote model that timed out, refused or answered what cannot be used."""


class RunError(CustodesError):
    """A run folder that is in use, belongs to another config, or cannot be written."""


class CustodesWarning(UserWarning):
    """Something a user should know that does not stop the work."""


def near_misses(name: str, known: Iterable[str]) -> str:
    """Say which known names are close to an unknown one, as the remedy of an error.

    >>> near_misses("helpfullness", ["helpfulness", "harmlessness"])
    'did you mean helpfulness? Known: harmlessness, helpfulness'
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    listed = ", ".join(names) or "none"
    return f"did you mean {' or '.join(close)}? Known: {listed}" if close else f"known: {listed}"
