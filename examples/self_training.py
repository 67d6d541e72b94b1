"""Self-training by three choosers: the Worker itself, an Expert, and chance as the control.

    python examples/self_training.py OUT [key=value ...] [--drift] [--statements 96] [--seeds 0 1 2]

writes OUT/seed-N/self, OUT/seed-N/expert and OUT/seed-N/random for every seed, run folders whose
lineages ``custodes drift`` reads; the overrides are of examples/self_training.yaml. Then every
lineage is asked the questionnaire of stated values, its concepts are read, and with ``--drift`` it
is also followed by ``custodes drift`` (OUT/seed-N/ARM-drift). What comes of it is one table, also
in OUT/arms.json: how much each arm changes, and how much more than the arm that learns from chance.

Killed, the same command goes on. Takes some twenty minutes a seed on one core.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from custodes.config import load_config
from custodes.drift.arm_lineage import measure_arm
from custodes.drift.arms import ArmLineage, compare_arms
from custodes.drift.concepts import read_concepts
from custodes.drift.config import DriftConfig
from custodes.drift.questionnaire.lineage import questionnaire_statements
from custodes.drift.run import run_drift
from custodes.errors import CustodesError
from custodes.oversight.self_training import SelfTrainingConfig, self_train
from custodes.progress import console
from custodes.report import write_report
from custodes.report.drift import write_drift_report
from custodes.runs.files import write_json
from custodes.runs.store import Store

CONFIG = Path(__file__).with_suffix(".yaml")
ARMS = ("self", "expert", "random")
CONTROL = "random"
DRIFT_PROMPTS = 96


def main(
    out: Path, seeds: list[int], with_drift: bool, statements: int, overrides: list[str]
) -> None:
    """Train the arms under every seed, and compare them with the arm that learns from chance."""
    for seed in seeds:
        for arm in ARMS:
            train(out / f"seed-{seed}" / arm, arm, seed, overrides)
    lineages = [measure(out, arm, seed, with_drift, statements) for seed in seeds for arm in ARMS]
    readings = lineages[0].readings
    failed = [c for c in readings.controls() if c.passed is False] if readings else []
    reason = "; ".join(f"{one.name}: {one.explanation}" for one in failed)
    result = compare_arms(lineages, CONTROL, readable=not failed, reason=reason)
    write_json(out / "arms.json", result)
    sys.stdout.writelines(f"{line}\n" for line in table(result))


def train(folder: Path, arm: str, seed: int, overrides: list[str]) -> None:
    """Train one arm, and say which of its controls failed."""
    config = load_config(CONFIG, SelfTrainingConfig, [f"seed={seed}", *overrides, f"select={arm}"])
    with console() as progress:
        summary = self_train(config, folder, progress=progress)
    write_report(folder)
    failed = [control["name"] for control in summary["controls"] if control["passed"] is False]
    sys.stdout.write(f"seed {seed}, {arm}: controls that failed: {', '.join(failed) or 'none'}\n")


def measure(out: Path, arm: str, seed: int, with_drift: bool, statements: int) -> ArmLineage:
    """Ask, read and (with ``--drift``) follow one lineage."""
    folder = out / f"seed-{seed}" / arm
    with console() as progress:
        behaviours = None
        if with_drift:
            config = DriftConfig(sources=(str(folder),), limit=DRIFT_PROMPTS, concepts="none")
            place = folder.with_name(f"{arm}-drift")
            behaviours = len(run_drift(config, place, progress=progress).drifted)
            write_drift_report(place)
        return measure_arm(
            arm,
            seed,
            folder,
            Store(out / "readings"),
            statements=questionnaire_statements("shipped", statements, 0),
            concepts=read_concepts("shipped"),
            behaviours=behaviours,
            progress=progress,
        )


def table(result: dict[str, Any]) -> list[str]:
    """Write the comparison in lines."""
    lines = [f"Changes from the first generation to the last, seeds {result['seeds']}"]
    if not result["readable"]:
        lines.append(f"THE QUESTIONNAIRE CANNOT BE READ: {result['reason']}")
    for arm in result["arms"]:
        drifted = (
            "" if arm["behaviours"] is None else f", behaviours that drift {arm['behaviours']}"
        )
        pairs = f", pairs of concepts that moved {arm['concept_pairs']}"
        lines.append(f"{arm['arm']}{drifted}{pairs}")
        for name, row in arm["quantities"].items():
            lines.append(f"  {name}: {figures(name, row)}")
    return lines


def figures(name: str, row: dict[str, Any]) -> str:
    """Write a change and its difference from the control arm's."""
    unit = {"concept change": " thousandths"}.get(name, "")
    parts = [between(row["change"]) + unit]
    if "minus_control" in row:
        parts.append(f"minus {CONTROL}'s {between(row['minus_control'])}")
    return "; ".join(parts)


def between(interval: dict[str, float]) -> str:
    """Write a mean and its interval."""
    return f"{interval['mean']:+.3f} [{interval['low']:+.3f}, {interval['high']:+.3f}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the runs")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. generations=1")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="three or more")
    parser.add_argument("--drift", action="store_true", help="follow each lineage's responses too")
    parser.add_argument("--statements", type=int, default=96, help="of the questionnaire")
    args = parser.parse_intermixed_args()
    try:
        main(args.out, args.seeds, args.drift, args.statements, args.overrides)
    except CustodesError as error:
        sys.exit(f"custodes: {error}")
