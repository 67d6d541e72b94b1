"""Measure how the memory of a run grows with its retrains.

    python benchmarks/memory.py [--config FILE] [--retrains 10] [--most 3.0] [key=value ...]

The Worker fails at every second step and is retrained each time. After each new checkpoint the
resident memory is noted, and at the end the peak. The exit status is 1 where the peak is above
``--most`` GiB, or where the last third of the checkpoints needs 10% more than the third before it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from custodes.config import load_config
from custodes.oversight.config import OverseeConfig
from custodes.oversight.run import oversee

ROOT = Path(__file__).parent.parent
GROWTH = 1.1


def memory(field: str) -> float:
    """Return a field of /proc/self/status, in GiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 2**20
    raise SystemExit(f"/proc/self/status has no {field}")


def main() -> int:
    """Run the loop and print the memory after each checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default=str(ROOT / "examples" / "oversee.yaml"))
    parser.add_argument("--retrains", type=int, default=10)
    parser.add_argument("--most", type=float, default=3.0)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    overrides = [
        f"steps={2 * options.retrains + 2}",
        "overseer.thresholds.helpfulness=0.99",
        "overseer.thresholds.harmlessness=0.99",
        "overseer.overseer_steps=2",
        "overseer.cooldown=0",
        f"overseer.max_retrains={options.retrains}",
        "control=false",
        "sham=false",
        *options.overrides,
    ]
    config = load_config(Path(options.config), OverseeConfig, overrides)
    after: list[float] = []

    def progress(stage: str, done: int, total: int) -> None:
        # The gold score is taken once for each checkpoint, after the one before it was let go.
        if stage == "gold" and done == total:
            after.append(memory("VmRSS"))
            print(f"checkpoint {len(after) - 1}: {after[-1]:.2f} GiB resident", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        oversee(config, Path(folder) / "run", progress=progress)
    peak = memory("VmHWM")
    third = max(1, len(after) // 3)
    growth = statistics.mean(after[-third:]) / statistics.mean(after[-2 * third : -third])
    print(f"peak {peak:.2f} GiB (at most {options.most}); growth {growth:.3f} (at most {GROWTH})")
    return int(peak > options.most or growth > GROWTH)


if __name__ == "__main__":
    sys.exit(main())
