"""Plant known differences in real responses and count what is found.

    python benchmarks/planted.py --make DIR          sample the bundled model's responses (once)
    python benchmarks/planted.py DIR [--runs 40] [--json OUT]
    python benchmarks/planted.py --read OUT [...]    the tables of earlier runs, put together

In place of DIR, response files of one model over the same prompts (two or more independent draws
each) do for all cases but those with a temperature or a system prompt.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from custodes.diff.benchmark.run import MODEL, OURS, SORTS, Plan, run, table
from custodes.diff.benchmark.samples import make_samples


def say(line: str) -> None:
    print(line, flush=True)


def uniform(rows: list[dict[str, Any]]) -> str:
    """Say how uniform the global p-values of the nulls are."""
    from scipy import stats

    p = [r["p"] for r in rows if r["method"] == OURS and r["sort"] == "null"]
    if not p:
        return ""
    test = stats.kstest(p, "uniform")
    small = sum(x <= 0.1 for x in p) / len(p)
    return f"global p of {len(p)} nulls: KS p = {test.pvalue:.2f}, {small:.1%} are at most .1"


def controls(rows: list[dict[str, Any]]) -> str:
    mine = [r["control"] for r in rows if r["method"] == OURS]
    return f"control found something in {sum(c > 0 for c in mine)} of {len(mine)} cases"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("samples", nargs="*", type=Path)
    parser.add_argument("--make", type=Path, metavar="DIR")
    parser.add_argument("--read", type=Path, nargs="+", default=[])
    parser.add_argument("--runs", type=int, default=40, help="cases of each sort and rate")
    parser.add_argument("--nulls", type=int, default=200, help="cases with nothing planted")
    parser.add_argument("--n", type=int, default=500, help="prompts in a case")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.02, 0.04, 0.08, 0.16])
    parser.add_argument("--sorts", nargs="+", default=[], help=", ".join(SORTS))
    parser.add_argument("--edits", choices=["development", "held-out"], default="held-out")
    parser.add_argument("--fdr", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--alone", action="store_true", help="leave the opponents out")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.make:
        from custodes.models.resolve import load

        make_samples(load(MODEL), args.make, progress=say)
        return
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
    if args.read:
        results = [row for file in args.read for row in json.loads(file.read_text("utf-8"))]
    else:
        results = run(args.samples, plan, progress=say)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    print("\n".join(filter(None, [table(results), uniform(results), controls(results)])))


if __name__ == "__main__":
    main()
