"""How long a diff takes, and how that grows with the number of prompts.

    python benchmarks/diff_speed.py [--sizes 500 5000] [--from FILE.jsonl ...] [--json OUT]

Each size runs in a process of its own, which reports its peak memory. Responses are made of the
sentences of the given files, or of Zipf-distributed words where none are given.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from custodes.diff import Responses, compare, read_responses
from custodes.diff.features.text import sentences


def made_up_sentences(rng: np.random.Generator) -> list[str]:
    words = np.array([f"w{i:05d}" for i in range(20_000)])
    weight = 1 / np.arange(2, len(words) + 2)
    drawn = rng.choice(words, (40_000, 14), p=weight / weight.sum())
    return [" ".join(row[: rng.integers(5, 15)]).capitalize() + "." for row in drawn]


def responses(n: int, pool: list[str], rng: np.random.Generator, name: str) -> Responses:
    texts = [
        (" ".join(pool[k] for k in rng.integers(0, len(pool), rng.integers(2, 6))),)
        for _ in range(n)
    ]
    prompts = [f"{pool[i % len(pool)]} ({i})" for i in range(n)]
    return Responses(name, tuple(f"p{i}" for i in range(n)), tuple(prompts), tuple(texts))


def measure(n: int, files: list[Path], seed: int, out: multiprocessing.SimpleQueue[Any]) -> None:
    rng = np.random.default_rng(seed)
    pool = [s for f in files for texts in read_responses(f).texts for t in texts
            for s in sentences(t)] or made_up_sentences(rng)  # fmt: skip
    a, b = (responses(n, pool, rng, name) for name in "AB")
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    diff = compare(a, b)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    out.put(
        {
            "prompts": n,
            "seconds": round(wall, 2),
            "cpu_seconds": round(after.ru_utime + after.ru_stime
                                 - before.ru_utime - before.ru_stime, 2),
            "peak_mib": after.ru_maxrss // 1024,
            "hypotheses": sum(diff.looked_at.values()),
        }
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 1500, 5000, 15000, 50000])
    parser.add_argument("--from", dest="files", type=Path, nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    rows = []
    print("| prompts | seconds | CPU s | peak MiB | hypotheses | µs / (n log n) |\n|" + "---|" * 6)
    for n in args.sizes:
        queue = context.SimpleQueue()
        process = context.Process(target=measure, args=(n, args.files, args.seed, queue))
        process.start()
        row = queue.get()
        process.join()
        rows.append(row)
        unit = 1e6 * row["cpu_seconds"] / (n * math.log(n))
        print(f"| {n} | {row['seconds']} | {row['cpu_seconds']} | {row['peak_mib']} "
              f"| {row['hypotheses']} | {unit:.0f} |", flush=True)  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
