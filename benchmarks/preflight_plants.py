"""Planted bugs: what trl itself says, and which check sees each.

python benchmarks/preflight_plants.py [--out FILE] [FILTER ...]
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def reaction(build: Any, folder: Path) -> str:
    """Train two steps as trl would, and say what a user gets to see."""
    said: list[str] = []

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler = Notes(level=logging.WARNING)
    loggers = [logging.getLogger(name) for name in ("trl", "transformers", "peft", "accelerate")]
    for one in loggers:
        one.addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer = build(folder)
            trainer.args.max_steps = min(max(trainer.args.max_steps, 2), 2)
            trainer.train()
    except Exception as error:
        return f"raises {type(error).__name__}"
    finally:
        for one in loggers:
            one.removeHandler(handler)
    said += [str(w.message) for w in caught if "trl" in str(w.filename)]
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    if said:
        return f"warns: {said[0][:60]}"
    if any(not math.isfinite(loss) for loss in losses):
        return f"silent, loss {losses[0]}"
    return "silent"


def main() -> None:
    """Check every plant, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("filter", nargs="*")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    from custodes.preflight import check
    from custodes.preflight.plants.catalogue import plants
    from custodes.preflight.plants.trainers import quiet

    rows = []
    for one in plants():
        if options.filter and not any(f in one.id for f in options.filter):
            continue
        with tempfile.TemporaryDirectory() as folder:
            with quiet():
                logging.disable(logging.NOTSET)
                silent = reaction(one.build, Path(folder) / "a")
                trainer = one.build(Path(folder) / "b")
            began = time.perf_counter()
            report = check(trainer, seconds=600)
            seconds = time.perf_counter() - began
        red = [r.id for r in report.failed]
        hit = [c for c in one.checks if c in red]
        rows.append(
            {
                "bug": one.id,
                "about": one.about,
                "trainer": one.kind,
                "trl": silent,
                "named": bool(hit),
                "checks": red,
                "seconds": round(seconds, 1),
            }
        )
        name = hit[0] if hit else "MISSED"
        print(f"| {one.about} | {one.kind} | {silent} | {name} | {seconds:.1f} |", flush=True)
    print(f"{sum(bool(r['named']) for r in rows)} of {len(rows)} seen by the check that names them")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
