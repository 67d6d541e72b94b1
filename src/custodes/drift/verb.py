"""``custodes.drift``: `custodes drift` as a Python function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from custodes.config import validate_config
from custodes.drift.config import DriftConfig
from custodes.drift.lineage import Drift
from custodes.drift.run import run_drift
from custodes.progress import Progress, silent

__all__ = ["drift"]


def drift(
    *sources: str | Path, out: str | Path, progress: Progress = silent, **options: Any
) -> Drift:
    """Follow a lineage of models from its first generation, as `custodes drift` does.

    Killed and called again with the same arguments, it goes on where it stopped.

    Args:
        *sources: A run folder, or the models in order.
        out: The folder to keep responses and drift.json in.
        progress: Called as stages begin and end.
        **options: The other keys of `custodes.drift.config.DriftConfig`.

    Raises:
        CustodesError: A mistake that the user can correct, in one line.
    """
    values = {"sources": [str(source) for source in sources], **options}
    return run_drift(validate_config(values, DriftConfig, "drift"), Path(out), progress=progress)
