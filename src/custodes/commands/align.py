"""The verb ``align``: parse, call, print."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from custodes.commands.show import conclude
from custodes.options import call_verb

__all__ = ["align"]


def align(arguments: Sequence[str]) -> None:
    """Train a model by a constitution, or by its inverse, and report what obeyed it."""
    about = f"{align.__doc__} The same command on the same folder resumes."
    call_verb(_align, arguments, prog="custodes align", description=about)


def _align(
    config: Positional[
        Annotated[Path, arg(metavar="CONFIG", help="A YAML file; examples/align.yaml is one.")]
    ],
    overrides: Positional[
        Annotated[
            tuple[str, ...],
            arg(
                metavar="[key=value ...]",
                help="Override a key, e.g. stages=revise..rl gate=continue.",
            ),
        ]
    ] = (),
    /,
    out: Path | None = None,
    json: FlagCreatePairsOff[bool] = False,
    overwrite: FlagCreatePairsOff[bool] = False,
) -> None:
    """Train a model by a constitution.

    Args:
        config: The config of the run.
        overrides: Changes to the config.
        out: The run's folder; runs/NAME by default, runs/NAME-inverted for an inverted run.
        json: Print one JSON object to standard output and nothing else.
        overwrite: Replace the run that is in the folder.
    """
    from custodes.config import load_config
    from custodes.constitution.config import AlignConfig
    from custodes.constitution.pipeline import align as run
    from custodes.constitution.pipeline import default_folder
    from custodes.progress import console
    from custodes.report.align import write_align_report
    from custodes.report.align_terminal import print_align
    from custodes.runs import overwriting

    settings = load_config(config, AlignConfig, overrides)
    folder = out or default_folder(settings)
    with console() as progress, overwriting(folder, overwrite):
        summary = run(settings, folder, progress=progress)
    report = write_align_report(folder)
    conclude(folder / "summary.json", json, lambda: print_align(summary, report))
    if summary["stopped"]:
        sys.exit(1)
