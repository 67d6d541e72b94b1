"""Check the training stages of a custodes config, up to the first one it reaches."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from custodes.errors import DataError
from custodes.preflight.result import Report
from custodes.preflight.script import caught

__all__ = ["check_config"]


def check_config(path: Path, overrides: Sequence[str] = (), **options: Any) -> list[Report]:
    """Run a config in a temporary folder up to its first training, and check the trainer.

    What comes before the training is real: queries, responses and ratings are made, as in the run.

    Args:
        path: A YAML file for `custodes oversee`.
        overrides: Changes to it, e.g. "steps=4".
        options: For `check`.

    Raises:
        DataError: The run ended without a training.
    """
    from custodes.config import load_config
    from custodes.oversight.config import OverseeConfig
    from custodes.oversight.run import oversee

    settings = load_config(path, OverseeConfig, overrides)
    reports: list[Report] = []
    with (
        tempfile.TemporaryDirectory(prefix="custodes-preflight-") as folder,
        caught(options, reports),
    ):
        oversee(settings, Path(folder) / "run")
    if not reports:
        raise DataError(
            f"{path.name} ended without training",
            "the Overseer never sent the Worker to a Teacher, or the engine is simulated",
        )
    return reports
