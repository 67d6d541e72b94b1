"""Self-training by three choosers: the Worker itself, an Expert, and chance as the control.

    python examples/self_training.py OUT [key=value ...]

writes OUT/self, OUT/expert and OUT/random, run folders whose lineages ``custodes drift`` reads;
the overrides are of examples/self_training.yaml. Killed, the same command goes on. Takes some
twenty minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from custodes.config import load_config
from custodes.errors import CustodesError
from custodes.oversight.self_training import SelfTrainingConfig, self_train
from custodes.progress import console
from custodes.report import write_report

CONFIG = Path(__file__).with_suffix(".yaml")
ARMS = ("self", "expert", "random")


def main(out: Path, overrides: list[str]) -> None:
    """Train the three arms, and say what the gold score made of them."""
    for arm in ARMS:
        config = load_config(CONFIG, SelfTrainingConfig, [*overrides, f"select={arm}"])
        with console() as progress:
            summary = self_train(config, out / arm, progress=progress)
        write_report(out / arm)
        failed = [control["name"] for control in summary["controls"] if not control["ok"]]
        sys.stdout.write(f"{arm}: controls that failed: {', '.join(failed) or 'none'}\n")
        for row in summary["gold"]:
            low, high = row["change_ci95"] or (0.0, 0.0)
            sys.stdout.write(
                f"  {row['domain']} generation {row['checkpoint']}: {row['score']:+.2f}, change "
                f"{row['change'] or 0.0:+.2f} [{low:+.2f}, {high:+.2f}]\n"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the three runs")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. generations=1")
    args = parser.parse_args()
    try:
        main(args.out, args.overrides)
    except CustodesError as error:
        sys.exit(f"custodes: {error}")
