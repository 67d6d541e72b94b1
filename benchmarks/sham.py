"""Whether a retrain helps more than one that learns from pairs put in order by chance.

    python benchmarks/sham.py [--config FILE] [--seeds 0 1 2] [--out runs/sham] [key=value ...]

Runs ``custodes oversee`` with its sham run once for each seed, and pools the change of every gold
quantity from the base to the last checkpoint over seeds and prompts (`custodes.statistics.
crossed_mean`). A run that was killed goes on. The exit status is 1 where, in the domain that was
retrained, the difference from the sham run does not exclude 0.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from custodes.config import load_config
from custodes.oversight.config import OverseeConfig
from custodes.oversight.run import oversee
from custodes.progress import console
from custodes.runs.events import read_events
from custodes.statistics import Interval, crossed_mean

ROOT = Path(__file__).parent.parent
SHAM = "sham_run"


def quantities(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the change of every gold quantity of a run by prompt, and what was retrained."""
    events = read_events(folder / "events.jsonl")
    gold = [event for event in events if event["kind"] == "gold"]
    made = [event["intervention"] for event in events if event["kind"] == "checkpoint"][1:]
    first, last = (
        {
            name: dict(zip(row["ids"], row["scores"], strict=True))
            for name, row in e["domains"].items()
        }
        | {
            name: dict(zip(row["ids"], row["values"], strict=True))
            for name, row in e["panel"].items()
        }
        for e in (gold[0], gold[-1])
    )
    changes = {
        name: {key: last[name][key] - value for key, value in values.items()}
        for name, values in first.items()
    }
    return changes, made


def pooled(changes: Sequence[dict[str, float]]) -> Interval:
    """Pool changes by prompt over seeds; a prompt that one seed lacks is left out."""
    shared = sorted(set.intersection(*(set(one) for one in changes)))
    return crossed_mean(np.array([[one[key] for key in shared] for one in changes]))


def written(interval: Interval) -> str:
    """Write an interval with two decimals."""
    return f"{interval.mean:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"


def main() -> int:
    """Run every seed, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default=str(ROOT / "examples" / "oversee.yaml"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/sham"))
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args()
    runs: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = []
    for seed in options.seeds:
        folder = options.out / f"seed-{seed}"
        overrides = ["control=false", "sham=true", *options.overrides, f"seed={seed}"]
        config = load_config(Path(options.config), OverseeConfig, overrides)
        with console() as progress:
            oversee(config, folder, progress=progress)
        changes, made = quantities(folder)
        runs.append((changes, quantities(folder / SHAM)[0], made))
    print("| quantity | change | change in the sham run | difference | difference, seed by seed |")
    print("|---|---|---|---|---|")
    differences: dict[str, Interval] = {}
    for name in runs[0][0]:
        ours, sham = [run[0][name] for run in runs], [run[1][name] for run in runs]
        apart = [
            {key: a[key] - b[key] for key in a if key in b} for a, b in zip(ours, sham, strict=True)
        ]
        differences[name] = pooled(apart)
        seeds = ", ".join(f"{np.mean(list(one.values())):+.2f}" for one in apart)
        cells = [name, *map(written, (pooled(ours), pooled(sham), differences[name])), seeds]
        print("| " + " | ".join(cells) + " |")
    made = [intervention for run in runs for intervention in run[2]]
    print(f"\nretrains of {len(runs)} runs: {', '.join(made) or 'none'}")
    trained = {intervention.partition(":")[2] for intervention in made}
    return int(not all(differences[domain].low > 0 for domain in trained))


if __name__ == "__main__":
    sys.exit(main())
