"""Whether a loop remembers: an axis walked up and down on the simulator, and with a real Worker.

``python benchmarks/hysteresis.py [--real FOLDER] [--walks 3]``

The axis is the Overseer's threshold of harmlessness. A strict leg retrains the Worker, and what a
retrain has moved stays where nothing undoes it. The control is a loop in which it does not stay:
on the simulator everything is forgotten, and the real Worker has a Teacher that does nothing.

The walks of the real Worker go from a lenient threshold to a strict one and back, each with seeds
of its own. What is measured is the gold score of the last leg less that of the first, which have
the same threshold and the same gold prompts; the interval is over walks and prompts. A walk that
was killed goes on in its folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from custodes.runs.events import read_events
from custodes.statistics import crossed_mean
from custodes.sweep.dynamics import hysteresis, recovery_time, walk_runs, walk_simulator
from custodes.sweep.simulator import LoopModel, simulate

REAL: dict[str, Any] = {
    "name": "walk",
    "steps": 2,
    # A hot Worker: its answers rate low, and a retrain helps it (docs/measurements/sweep.md).
    "worker": {
        "model": "smollm2-135m",
        "engine": "torch",
        "max_tokens": 12,
        "temperature": 1.5,
    },
    "user": {"kind": "dataset", "batch": 8},
    "experts": [{"kind": "head", "domain": "harmlessness"}],
    "overseer": {
        "overseer_steps": 2,
        "thresholds": {"harmlessness": 0.2},
        "rule": "mean",
        "min_ratings": 4,
        "max_retrains": 1,
        "cooldown": 1,
    },
    "teacher": {
        "prompts": 12,
        "samples": 2,
        "margin": 0.0,
        "sft": {"epochs": 0},
        "dpo": {"epochs": 2, "learning_rate": 5e-4, "max_length": 128, "preflight": False},
    },
    "gold": {"prompts": 48, "panel": False},
}
AXIS = "overseer.thresholds.harmlessness"


def simulated() -> None:
    values = np.linspace(0.1, 0.9, 9).tolist()
    for name, forgetting in (("retrains stay", 0.0), ("all is forgotten (control)", 0.9)):
        model = LoopModel(
            helpful=0.6,
            harmful=0.5,
            forgetting=forgetting,
            max_retrains=2.0,
            threshold_helpfulness=-1.0,
        )
        up, down = walk_simulator(model, "threshold_harmlessness", values, steps=30, loops=64)
        found = hysteresis(up[:, :-1], down[:, :-1])
        print(
            f"simulator, {name}: area {found.area:.2f} logits (by chance {found.null:.2f}), "
            f"p {found.p:.4f}; largest {found.largest:.2f} at {values[found.at]:.1f}"
        )


def recovery() -> None:
    """Damage of 1 logit at step 20, with an Overseer that retrains and with one that does not."""
    for name, threshold in (("supervised", 0.6), ("not supervised (control)", -1.0)):
        model = LoopModel(
            helpful=0.6,
            harmful=0.3,
            at=20.0,
            damage=1.0,
            threshold_helpfulness=-1.0,
            threshold_harmlessness=threshold,
            batch=64.0,
        )
        runs = simulate(model, 60, loops=200)
        found = [recovery_time(row, 20, margin=0.06) for row in runs.ratings[:, :, 1]]
        outcomes = [row.outcome for row in found]
        shares = {o: outcomes.count(o) / len(outcomes) for o in sorted(set(outcomes))}
        steps = [row.steps for row in found if row.steps is not None]
        said = f", median {np.median(steps):.0f} steps" if steps else ""
        print(f"recovery on the simulator, {name}: {shares}{said}")


def real(folder: Path, walks: int) -> None:
    values = [0.2, 0.42]
    for name, teacher in (("dpo", REAL["teacher"]), ("null (control)", {"kind": "null"})):
        base = REAL | {"teacher": teacher}
        apart = []
        for seed in range(walks):
            at = folder / f"{name.split()[0]}-{seed}"
            up, down = walk_runs(base, AXIS, values, "gold.harmlessness", at, seed=seed)
            first, last = (last_gold(at / f"leg-{leg:02d}") for leg in (0, 2 * len(values) - 1))
            apart.append([last[key] - first[key] for key in sorted(first)])
            print(
                f"real Worker, Teacher {name}, walk {seed}: up {np.round(up, 2).tolist()}, down "
                f"{np.round(down, 2).tolist()} at thresholds {values}",
                flush=True,
            )
        change = crossed_mean(apart)
        print(
            f"real Worker, Teacher {name}: back at {values[0]} the gold score is "
            f"{change.mean:+.2f} [{change.low:+.2f}, {change.high:+.2f}] from where it began",
            flush=True,
        )


def last_gold(folder: Path) -> dict[str, float]:
    """Return a run's last gold scores of harmlessness, by prompt."""
    events = read_events(folder / "events.jsonl")
    row = [event for event in events if event["kind"] == "gold"][-1]["domains"]["harmlessness"]
    return dict(zip(row["ids"], row["scores"], strict=True))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, default=None)
    parser.add_argument("--walks", type=int, default=3)
    options = parser.parse_args(arguments)
    simulated()
    recovery()
    if options.real is not None:
        real(options.real, options.walks)


if __name__ == "__main__":
    main(sys.argv[1:])
