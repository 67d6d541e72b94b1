"""The verbs ``sweep`` and ``calibrate``: parse, call, print."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from custodes.commands.show import conclude, say
from custodes.options import call_verb
from custodes.screen import write_out

__all__ = ["calibrate", "sweep"]

REPORTS = 500
"""Runs whose reports are written; the others' are written by custodes view."""


def sweep(arguments: Sequence[str]) -> None:
    """Map where a supervised system is good or bad, expected or surprising."""
    call_verb(_sweep, arguments, prog="custodes sweep", description=sweep.__doc__ or "")


def calibrate(arguments: Sequence[str]) -> None:
    """Fit the simulator to runs, and say how well it predicts runs that it has not seen."""
    call_verb(_calibrate, arguments, prog="custodes calibrate", description=calibrate.__doc__ or "")


def _sweep(
    config: Positional[
        Annotated[Path, arg(metavar="CONFIG", help="A YAML file; custodes init sweep writes one.")]
    ],
    overrides: Positional[
        Annotated[
            tuple[str, ...], arg(metavar="[key=value ...]", help="Override a key, e.g. runs=40.")
        ]
    ] = (),
    /,
    out: Path | None = None,
    scheduler: str | None = None,
    at_once: int | None = None,
    json: FlagCreatePairsOff[bool] = False,
    overwrite: FlagCreatePairsOff[bool] = False,
) -> None:
    """Run a sweep.

    Args:
        config: What to sweep.
        overrides: Changes to it.
        out: The sweep's folder; runs/NAME if not given. The same command on it goes on.
        scheduler: A Dask scheduler's address, e.g. tcp://10.0.0.1:8786; the folder has to be
            shared with its workers.
        at_once: Runs in flight; the config's workers by default.
        json: Print one JSON object to standard output and nothing else.
        overwrite: Replace the sweep that is in the folder.
    """
    from custodes.config import load_config
    from custodes.progress import console
    from custodes.report.phases import write_phases_report
    from custodes.report.phases_terminal import print_phases
    from custodes.runs import overwriting
    from custodes.sweep.config import SweepConfig
    from custodes.sweep.executors import connect
    from custodes.sweep.run import run_sweep

    settings = load_config(config, SweepConfig, overrides)
    folder = out or Path("runs") / settings.name
    executor = None if scheduler is None else connect(scheduler)
    try:
        with console() as progress, overwriting(folder, overwrite):
            result = run_sweep(
                settings,
                folder,
                beside=config.parent,
                executor=executor,
                at_once=at_once,
                progress=progress,
            )
            _write_reports(folder, [row["folder"] for row in result["runs"]], progress)
    finally:
        if (folder / "phases.json").exists():
            write_phases_report(folder)
    conclude(folder / "phases.json", json, lambda: print_phases(result, folder / "phases.html"))


def _write_reports(folder: Path, runs: Sequence[str], progress: object) -> None:
    """Write the report of each run that has none."""
    from custodes.report import write_report

    assert callable(progress)
    due = [folder / run for run in runs[:REPORTS]]
    due = [run for run in due if (run / "summary.json").exists()]
    for done, run in enumerate(due):
        progress("reports", done, len(due))
        if not (run / "report.html").exists():
            write_report(run)
    progress("reports", len(due), len(due))


def _calibrate(
    runs: Positional[Annotated[tuple[Path, ...], arg(name="RUN", help="Folders of runs.")]],
    /,
    out: Path,
    json: FlagCreatePairsOff[bool] = False,
) -> None:
    """Fit the simulator.

    Args:
        runs: Folders of custodes oversee, or of a sweep's runs.
        out: The JSON file to write; a sweep's ``calibration``.
        json: Print one JSON object to standard output and nothing else.
    """
    from custodes.runs.files import write_json
    from custodes.sweep.simulator import calibrate as fit
    from custodes.sweep.simulator import read_series

    fitted = fit([read_series(run) for run in runs])
    write_json(out, fitted.to_dict())
    if json:
        write_out(out.read_text(encoding="utf-8"))
    else:
        for name, value in fitted.parameters.items():
            say(f"{name} {value:.3f} ± {fitted.errors[name]:.3f}")
        control = fitted.control
        say(f"{control.status}: {control.name}: {control.explanation}")
        say(f"wrote {out}")
    if fitted.control.passed is False:
        sys.exit(1)
