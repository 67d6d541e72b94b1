"""Damage a supervised loop on purpose and see which controls go red.

    python benchmarks/mutations.py [--clean 50] [--only NAME …] [--json OUT]

Each damage is planted into the simulated loop by replacing one function of the package, in a run of
its own. A damage counts as caught when a control fails, and as named when one of the failed
controls is of the damaged part. The clean runs have the loop in many shapes and nothing damaged:
whatever fails there is a false alarm.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from custodes.errors import CustodesError
from custodes.oversight.config import OverseeConfig
from custodes.oversight.run import oversee
from mutants import MUTANTS, Mutant

BASE: dict[str, Any] = {
    "name": "mutant",
    "steps": 16,
    "worker": {"model": "simulated:helpful=0.45,harmful=0.5"},
    "user": {"kind": "dataset", "batch": 24},
    "experts": [
        {"kind": "simulated", "domain": "helpfulness", "noise": 0.05},
        {"kind": "simulated", "domain": "harmlessness", "noise": 0.05},
    ],
    "overseer": {
        "overseer_steps": 2,
        "thresholds": {"helpfulness": 0.5, "harmlessness": 0.6},
        "max_retrains": 4,
    },
    "teacher": {"kind": "simulated"},
    "control": True,
    "sham": True,
}


def failed(config: dict[str, Any], mutant: Mutant | None) -> tuple[list[str], str]:
    """Run a loop and return the names of the failed controls, and the error that ended it."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        if mutant is not None:
            stack.enter_context(mutant.planted())
        error = ""
        try:
            summary = oversee(OverseeConfig.model_validate(config), Path(folder) / "run")
        except CustodesError as stop:
            error = str(stop)
            file = Path(folder) / "run" / "summary.json"
            summary = json.loads(file.read_text()) if file.exists() else {"controls": []}
        return [c["name"] for c in summary["controls"] if c["passed"] is False], error


def shapes(count: int) -> Iterator[dict[str, Any]]:
    """Yield configs of clean runs in many shapes."""
    rng = np.random.default_rng(0)
    kinds = ["noisy_expert", "flipped_expert", "biased_expert", "jailbreak"]
    for seed in range(count):
        helpful, harmful = rng.uniform(0.2, 0.8, 2).round(2)
        steps = int(rng.integers(6, 30))
        domains = ["helpfulness", "harmlessness"]
        config: dict[str, Any] = {
            **BASE,
            "seed": seed,
            "steps": steps,
            "worker": {"model": f"simulated:helpful={helpful},harmful={harmful}"},
            "user": {"kind": "dataset", "batch": int(rng.integers(8, 48))},
            "experts": [
                {"kind": "simulated", "domain": d, "noise": round(float(rng.uniform(0, 0.2)), 2)}
                for d in domains
            ],
            "overseer": {
                "overseer_steps": int(rng.integers(1, 6)),
                "thresholds": {d: round(float(rng.uniform(0.2, 0.8)), 2) for d in domains},
                "max_retrains": int(rng.integers(0, 6)),
                "rule": str(rng.choice(["single", "mean", "lower_bound"])),
                "rate": str(rng.choice(["every_response", "intercepts_only"])),
            },
            "gold": {"prompts": int(rng.choice([16, 48, 96, 160]))},
            "sham": bool(seed % 2),
        }
        if seed % 3 == 0:
            kind = str(rng.choice(kinds[:2]))
            at = int(rng.integers(1, steps - 2))
            # Between intercepts at which nobody rates, a perturbation of ratings changes nothing,
            # and its control says so.
            config["overseer"]["rate"] = "every_response"
            extra = {"sd": 0.2} if kind == "noisy_expert" else {}
            config["perturbations"] = [
                {"kind": kind, "at": at, "until": at + 2, "domain": "harmlessness", **extra}
            ]
        yield config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--clean", type=int, default=50)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    mutants = [m for m in MUTANTS if not args.only or m.name in args.only]
    for mutant in mutants:
        red, error = failed({**BASE, **mutant.config}, mutant)
        named = mutant.named_by(red, error)
        rows.append({"mutant": mutant.name, "part": mutant.part, "named": named, "red": red})
        mark = "named" if named else "caught" if red or error else "MISSED"
        print(f"{mark:7} {mutant.part:12} {mutant.name}: {'; '.join(red[:3]) or error or '-'}")
    alarms = []
    for config in shapes(args.clean if not args.only else 0):
        red, error = failed(config, None)
        if red or error:
            alarms.append({"seed": config["seed"], "red": red, "error": error})
            print(f"false   seed {config['seed']}: {'; '.join(red) or error}", flush=True)
    caught = sum(bool(row["red"]) or bool(row["named"]) for row in rows)
    right = sum(bool(row["named"]) for row in rows)
    print(
        f"\n{caught} of {len(rows)} damages turn a control red, {right} name the part; "
        f"{len(alarms)} of {args.clean if not args.only else 0} clean runs have anything red"
    )
    if args.json:
        args.json.write_text(json.dumps({"mutants": rows, "alarms": alarms}, indent=1), "utf-8")


if __name__ == "__main__":
    main()
