"""Whether the rises that a diff calls detectable are found, in 80% of cases.

    python benchmarks/detectable.py SAMPLE.jsonl SAMPLE.jsonl [--n 24] [--trials 60] [--json OUT]
    python benchmarks/detectable.py --read OUT [...]      the table of earlier runs, put together

The samples are two independent draws of one model over the same prompts; for an n above their
number, responses are made of their sentences. They are compared on n prompts drawn at random, and
the rise that this diff calls detectable with 80% power is noted, anew for every fifth trial. A
trial draws n prompts, puts a word that occurs nowhere into A's responses at the base rate, and into
B's at the claimed rate, at random places, and compares again. The word is found if the evidence of
a finding matches its prompts with precision and recall of at least one half.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from custodes.diff import Diff, Responses, compare, read_responses
from custodes.diff.features.text import split_sentences

WORDS = ("marmalade", "gazebo", "lantern", "periwinkle", "zeppelin")
SIZES = (12, 16, 24, 50, 100, 200, 500)
BASES = (0.0, 0.05, 0.2)
TRIALS_OF_A_CLAIM = 5
FEW_WORDS = 150
"""With more prompts than this, several words are planted at once; they hardly overlap."""


def made(draws: Sequence[Responses], n: int, rng: np.random.Generator) -> list[Responses]:
    """Make responses of sentences of the samples, for more prompts than the samples have."""
    pool = [s for texts in draws[0].texts for s in split_sentences(texts[0])]
    ids = tuple(f"p{i}" for i in range(n))
    return [
        Responses(
            draw.name,
            ids,
            tuple(f"{draws[0].prompts[i % len(draws[0].prompts)]} ({i})" for i in range(n)),
            tuple(
                (" ".join(pool[k] for k in rng.integers(0, len(pool), rng.integers(2, 5))),)
                for _ in range(n)
            ),
        )
        for draw in draws
    ]


def drawn(responses: Responses, prompts: Sequence[int], name: str) -> Responses:
    return Responses(
        name,
        tuple(responses.ids[i] for i in prompts),
        tuple(responses.prompts[i] for i in prompts),
        tuple((responses.texts[i][0],) for i in prompts),
    )


def planted(
    responses: Responses, word: str, rate: float, rng: np.random.Generator
) -> tuple[Responses, set[str]]:
    """Put a word into each response with this probability, at a random place."""
    texts, ids = [], set()
    for prompt_id, (before,) in zip(responses.ids, responses.texts, strict=True):
        text = before
        if rng.random() < rate:
            words = text.split(" ")
            words.insert(int(rng.integers(0, len(words) + 1)), word)
            text = " ".join(words)
            ids.add(prompt_id)
        texts.append((text,))
    return Responses(responses.name, responses.ids, responses.prompts, tuple(texts)), ids


def found(diff: Diff, ids: set[str]) -> bool:
    for finding in diff.findings:
        evidence = set(finding.evidence_b)
        both = len(evidence & ids)
        if finding.size.effect > 0 and both >= 0.5 * max(len(evidence), len(ids), 1):
            return True
    return False


def sides(draws: Sequence[Responses], n: int, rng: np.random.Generator) -> list[Responses]:
    """Draw n prompts, and which of two draws is A."""
    if n > len(draws[0].ids):
        draws = made(draws, n, rng)
    prompts = sorted(rng.choice(len(draws[0].ids), n, replace=False).tolist())
    order = rng.permutation(2)
    return [drawn(draws[k], prompts, name) for k, name in zip(order, "AB", strict=True)]


def claim(
    draws: Sequence[Responses], n: int, base: float, rng: np.random.Generator
) -> float | None:
    return {one.base: one.rise for one in compare(*sides(draws, n, rng)).detectable}[base]


def trial(
    draws: Sequence[Responses], n: int, base: float, rise: float | None, rng: np.random.Generator
) -> list[dict[str, Any]]:
    if rise is None:
        return [{"n": n, "base": base, "rise": None, "found": None}]
    a, b = sides(draws, n, rng)
    words = WORDS if n > FEW_WORDS else WORDS[:1]
    ids = []
    for word in words:
        a, _ = planted(a, word, base, rng)
        b, there = planted(b, word, base + rise, rng)
        ids.append(there)
    diff = compare(a, b)
    return [{"n": n, "base": base, "rise": rise, "found": found(diff, there)} for there in ids]


def table(rows: Sequence[dict[str, Any]]) -> str:
    lines = ["| prompts | A's rate | claimed rise (median) | trials | found |", "|" + "---|" * 5]
    for n, base in sorted({(row["n"], row["base"]) for row in rows}):
        mine = [row for row in rows if (row["n"], row["base"]) == (n, base)]
        tried = [row for row in mine if row["rise"] is not None]
        none = len(mine) - len(tried)
        rise = f"{100 * np.median([row['rise'] for row in tried]):.1f} points" if tried else "none"
        share = f"{np.mean([row['found'] for row in tried]):.0%}" if tried else "–"
        more = f"; {none} claim none" if none and tried else ""
        lines.append(f"| {n} | {base:.0%} | {rise}{more} | {len(tried)} | {share} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("samples", nargs="*", type=Path)
    parser.add_argument("--n", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--bases", type=float, nargs="+", default=list(BASES))
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--read", type=Path, nargs="+", default=[])
    args = parser.parse_args()
    rows = [row for path in args.read for row in json.loads(path.read_text(encoding="utf-8"))]
    if args.samples:
        draws = [read_responses(path) for path in args.samples]
        for n in args.n:
            for base in args.bases:
                rise = None
                for k in range(args.trials):
                    rng = np.random.default_rng([args.seed, n, round(1000 * base), k])
                    if k % TRIALS_OF_A_CLAIM == 0:
                        rise = claim(draws, n, base, rng)
                    rows += trial(draws, n, base, rise, rng)
                    if args.json:
                        args.json.write_text(json.dumps(rows), encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
