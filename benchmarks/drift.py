"""Does drift stay silent where nothing drifts, and find what does? Simulated lineages.

    python benchmarks/drift.py [--pool RESPONSES.jsonl] [--lineages 500] [--prompts 120]
        [--generations 8] [--only null|power|back|mixed] [--json OUT]

A lineage is drawn from a pool of responses: every prompt of every round gets one at random for
each side, so that nothing drifts, with the rates and dependences that the pool's behaviours have.
The pool is a JSONL of real responses, or 4,000 made up with independent behaviours. A planted
behaviour is a column of its own, with a rate that changes by generation.

``null``: share of lineages in which anything is ever certain, looked at after every generation; and
the same for what one must not do: testing every generation at the level (peeking), taking each
behaviour alone (no e-BH), and using one round's responses of the first generation for all rounds.
``power``: a rate that rises 3 points a generation from 5%, or by 10 at once: at which generation it
is certain. ``back``: a rate that rises to +20 and falls back to 0, or stays: which is said to be
back. ``mixed``: ten of the behaviours rise; the share of false ones among all that are certain.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse, stats

from custodes.diff.features.indicators import Column
from custodes.diff.features.lexical import feature_columns
from custodes.diff.features.text import read_corpus
from custodes.diff.responses import read_responses
from custodes.drift.monitor import Monitor, Round

LEVEL = 0.05
MADE_UP, BEHAVIOURS = 4000, 400
BASE = 0.05

Rates = Callable[[int], float]


class Pool:
    """Which of many responses show which behaviours."""

    def __init__(self, path: Path | None) -> None:
        if path is None:
            rng = np.random.default_rng(1)
            rates = np.exp(rng.uniform(np.log(0.002), np.log(0.6), BEHAVIOURS))
            shows = rng.random((MADE_UP, BEHAVIOURS)) < rates
            self.columns = tuple(Column("feature", "made up", f"b{j}") for j in range(BEHAVIOURS))
            self.shows = sparse.csr_matrix(shows.astype(np.float32))
        else:
            responses = read_responses(path)
            rows = zip(responses.prompts, responses.texts, strict=True)
            pairs = [(text, prompt) for prompt, texts in rows for text in texts]
            texts = [text for text, _ in pairs]
            found = feature_columns(texts, [prompt for _, prompt in pairs], read_corpus(texts))
            self.columns = found.columns
            self.shows = found.shows.tocsr()
        self.size = self.shows.shape[0]

    def draw(self, prompts: int, rng: np.random.Generator) -> sparse.csr_matrix:
        return self.shows[rng.integers(0, self.size, prompts)]


def lineage(
    pool: Pool,
    args: argparse.Namespace,
    rng: np.random.Generator,
    planted: Sequence[Rates] = (),
    *,
    reuse: bool = False,
) -> tuple[Monitor, list[list[str]], list[Round]]:
    """Watch one lineage; returns the monitor and what was certain after each generation."""
    monitor = Monitor(LEVEL)
    columns = (
        *pool.columns,
        *(Column("feature", "planted", f"planted {k}") for k in range(len(planted))),
    )
    said, rounds, kept = [], [], None
    for t in range(1, args.generations + 1):
        first, now = (with_planted(pool.draw(args.prompts, rng), planted, at, rng) for at in (0, t))
        kept = first if kept is None or not reuse else kept
        seen = Round(kept.tocsc(), now.tocsc())
        said.append(monitor.take(columns, seen, seen))
        rounds.append(seen)
    return monitor, said, rounds


def with_planted(
    shows: sparse.csr_matrix, planted: Sequence[Rates], t: int, rng: np.random.Generator
) -> sparse.csr_matrix:
    if not planted:
        return shows
    hits = [(rng.random(shows.shape[0]) < rate(t)).astype(np.float32) for rate in planted]
    return sparse.csr_matrix(sparse.hstack([shows, sparse.csr_matrix(np.array(hits).T)]))


def sign_p(rounds: Sequence[Round]) -> np.ndarray:
    """Exact McNemar p of each behaviour in the last round: what peeking would look at."""
    d = rounds[-1].differences
    up = np.asarray((d > 0).sum(axis=0)).ravel()
    down = np.asarray((d < 0).sum(axis=0)).ravel()
    n = up + down
    p = 2 * stats.binom.sf(np.maximum(up, down) - 1, n, 0.5)
    return np.minimum(np.where(n > 0, p, 1.0), 1.0)


def benjamini_hochberg(p: np.ndarray) -> bool:
    ordered = np.sort(p)
    return bool((ordered <= LEVEL * np.arange(1, len(p) + 1) / len(p)).any())


def share(hits: Sequence[bool]) -> dict[str, float]:
    """A share with its exact 95% interval."""
    k, n = int(np.sum(hits)), len(hits)
    low = float(stats.beta.ppf(0.025, k, n - k + 1)) if k else 0.0
    high = float(stats.beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0
    return {"share": k / n, "low": low, "high": high, "of": n}


def null(pool: Pool, args: argparse.Namespace) -> dict[str, Any]:
    ever, peeking, alone, reused = [], [], [], []
    for seed in range(args.lineages):
        monitor, said, rounds = lineage(pool, args, np.random.default_rng([seed, 0]))
        ever.append(any(said))
        alone.append(max(map(max, monitor.log_e)) >= np.log(1 / LEVEL))
        peeking.append(
            any(benjamini_hochberg(sign_p(rounds[:t])) for t in range(1, len(rounds) + 1))
        )
        if seed < args.lineages // 5:
            _, said, _ = lineage(pool, args, np.random.default_rng([seed, 0]), reuse=True)
            reused.append(any(said))
    return {
        "anything ever certain": share(ever),
        "BREAK: BH on each generation's McNemar tests": share(peeking),
        "BREAK: any e-value above 1 / alpha, no e-BH": share(alone),
        "BREAK: one round's first responses used in all rounds": share(reused),
    }


def power(pool: Pool, args: argparse.Namespace) -> dict[str, Any]:
    out = {}
    plans: dict[str, Rates] = {
        "rises 3 points a generation from 5%": lambda t: BASE + 0.03 * t,
        "rises 10 points at once from 5%": lambda t: BASE + 0.1 * (t > 0),
        "rises 10 points at once from 30%": lambda t: 0.3 + 0.1 * (t > 0),
    }
    for name, rate in plans.items():
        certain = []
        for seed in range(args.lineages // 5):
            _, said, _ = lineage(pool, args, np.random.default_rng([seed, 1]), [rate])
            hits = [t for t, found in enumerate(said, start=1) if "planted 0" in found]
            certain.append(hits[0] if hits else 99)
        out[name] = {
            f"certain by generation {t}": share([c <= t for c in certain])
            for t in (2, 4, 6, args.generations)
        }
    return out


def back(pool: Pool, args: argparse.Namespace) -> dict[str, Any]:
    half = args.generations // 2
    plans: dict[str, Rates] = {
        "rises to +20 points and falls back to 0": lambda t: BASE + (0.2 if 0 < t <= half else 0.0),
        "rises to +20 points and stays": lambda t: BASE + 0.2 * (t > 0),
        "rises to +20 points and falls back to +10": lambda t: (
            BASE + (0.2 if 0 < t <= half else 0.1 * (t > 0))
        ),
    }
    out = {}
    for name, rate in plans.items():
        courses = []
        for seed in range(args.lineages // 5):
            monitor, _, _ = lineage(pool, args, np.random.default_rng([seed, 2]), [rate])
            found = monitor.behaviour(len(pool.columns))
            courses.append("missed" if found.certain is None else found.course)
        out[name] = {
            c: share([x == c for x in courses]) for c in ("missed", "stays", "recedes", "returned")
        }
    return out


def mixed(pool: Pool, args: argparse.Namespace) -> dict[str, Any]:
    rises: list[Rates] = [lambda t, s=s: 0.1 + s * t for s in np.linspace(0.01, 0.05, 10)]  # type: ignore[misc]
    false, found = [], []
    for seed in range(args.lineages // 5):
        _, said, _ = lineage(pool, args, np.random.default_rng([seed, 3]), rises)
        ever = set().union(*said)
        wrong = sum(not name.startswith("planted") for name in ever)
        false.append(wrong / max(1, len(ever)))
        found.append(len(ever) - wrong)
    return {
        "mean share of false ones among all ever certain": float(np.mean(false)),
        "true ones certain, of 10": float(np.mean(found)),
        "of": len(false),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pool", type=Path)
    parser.add_argument("--lineages", type=int, default=500)
    parser.add_argument("--prompts", type=int, default=120)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--only", choices=("null", "power", "back", "mixed"))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    pool = Pool(args.pool)
    parts = {"null": null, "power": power, "back": back, "mixed": mixed}
    found = {n: part(pool, args) for n, part in parts.items() if args.only in (None, n)}
    found["setting"] = {k: str(v) for k, v in vars(args).items()} | {
        "behaviours": len(pool.columns)
    }
    text = json.dumps(found, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
