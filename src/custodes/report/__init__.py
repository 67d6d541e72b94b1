"""Reads run folders, writes reports. Nothing but the command line imports it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["write_report"]


def write_report(folder: Path) -> Path:
    """Write a run's report, ``report.html`` in its folder, as one file of at most 2 MB.

    A run that is not finished gets one too; it says so on top.

    Returns:
        The report's path.

    Raises:
        RunError: The folder is not a run, is damaged, or cannot be written.
    """
    from custodes.report.html import render
    from custodes.report.record import read_record
    from custodes.runs.files import write_atomic

    path = folder / "report.html"
    write_atomic(path, render(read_record(folder)))
    return path
