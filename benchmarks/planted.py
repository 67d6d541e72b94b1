"""Plant known differences in real responses and count what is found.

    python benchmarks/planted.py SAMPLE.jsonl SAMPLE.jsonl [...] [--runs 40] [--json OUT]

The samples are response files of one model over the same prompts (two or more independent
draws each); see docs/diff.md for how the figures there were made.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from custodes.diff.benchmark import Plan, run, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("samples", nargs="+", type=Path)
    parser.add_argument("--runs", type=int, default=40, help="cases of each sort")
    parser.add_argument("--nulls", type=int, default=200, help="cases with nothing planted")
    parser.add_argument("--n", type=int, default=500, help="prompts in a case")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.02, 0.04, 0.08, 0.16])
    parser.add_argument("--sorts", nargs="+", default=["global", "five", "conditional"])
    parser.add_argument("--edits", choices=["development", "held-out"], default="held-out")
    parser.add_argument("--fdr", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--alone", action="store_true", help="leave the opponents out")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    plan = Plan(
        runs=args.runs,
        nulls=args.nulls,
        n=args.n,
        rates=tuple(args.rates),
        sorts=tuple(args.sorts),
        edits=args.edits,
        fdr=args.fdr,
        seed=args.seed,
        opponents=not args.alone,
    )
    results = run(args.samples, plan, progress=lambda line: print(line, flush=True))
    print(table(results))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
