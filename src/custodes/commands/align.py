"""The verb ``align``: parse, call, print."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, arg

__all__ = ["align"]

Config = Annotated[Path, arg(name="CONFIG", help="A YAML file; examples/align.yaml is one.")]
Overrides = Annotated[
    tuple[str, ...],
    arg(name="key=value", help="Override a config key, e.g. stages=revise..rl gate=continue."),
]


def align(arguments: Sequence[str]) -> None:
    """Train a model by a constitution, or by its inverse, and report what obeyed it."""
    tyro.cli(
        _align,
        prog="custodes align",
        description=f"{align.__doc__} The same command on the same folder resumes.",
        args=list(arguments),
    )


def _align(
    config: Positional[Config],
    overrides: Positional[Overrides] = (),
    /,
    out: Path | None = None,
) -> None:
    """Train a model by a constitution.

    Args:
        config: The config of the run.
        overrides: Changes to the config.
        out: The run's folder; runs/NAME by default, runs/NAME-inverted for an inverted run.
    """
    from custodes.config import load_config
    from custodes.constitution.config import AlignConfig
    from custodes.constitution.pipeline import align as run
    from custodes.constitution.pipeline import default_folder
    from custodes.progress import console
    from custodes.report.align import write_align_report
    from custodes.report.align_terminal import print_align

    settings = load_config(config, AlignConfig, overrides)
    folder = out or default_folder(settings)
    with console() as progress:
        summary = run(settings, folder, progress=progress)
    print_align(summary, write_align_report(folder))
    if summary["stopped"]:
        sys.exit(1)
