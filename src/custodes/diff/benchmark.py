"""Run the planted-difference benchmark: custodes diff and its opponents on the same cases."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from custodes.diff.baselines import BASELINES
from custodes.diff.compare import Diff, compare
from custodes.diff.edits import DEVELOPMENT, HELD_OUT
from custodes.diff.planted import Case, Claim, Pool, plant, score
from custodes.diff.responses import read_responses
from custodes.errors import ConfigError, near_misses

__all__ = ["Plan", "claims_of", "run", "table"]

OURS = "custodes diff"
# Name: (edits in one case, whether they are conditional).
SORTS = {"global": (1, False), "five": (5, False), "conditional": (1, True)}


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        runs: Cases for each sort and rate.
        nulls: Cases with nothing planted.
        n: Prompts in a case.
        rates: Shares of the prompts (of the condition's prompts) that an edit changes.
        sorts: Of ``SORTS``.
        edits: "development" or "held-out".
        fdr: What every method is asked for.
        seed: Of all cases.
        opponents: Whether to run them.
    """

    runs: int = 40
    nulls: int = 200
    n: int = 500
    rates: tuple[float, ...] = (0.01, 0.02, 0.04, 0.08, 0.16)
    sorts: tuple[str, ...] = ("global", "five", "conditional")
    edits: str = "held-out"
    fdr: float = 0.1
    seed: int = 0
    opponents: bool = True


def claims_of(diff: Diff) -> list[Claim]:
    """Turn findings into claims; a behaviour that became rarer is evidenced by A's side."""
    claims = []
    for finding in diff.findings:
        a, b = frozenset(finding.evidence_a), frozenset(finding.evidence_b)
        moved = dict.fromkeys(b - a, 1.0) | dict.fromkeys(a - b, -1.0)
        evidence = b if finding.size.effect > 0 else a
        claims.append(Claim(finding.statement, evidence, moved))
    return claims


def run(
    samples: Sequence[Path], plan: Plan, progress: Callable[[str], None] = lambda _: None
) -> list[dict[str, Any]]:
    """Run all cases of a plan, every method on each.

    Returns:
        One row for each method and case, ready for JSON.

    Raises:
        ConfigError: A sort of case is unknown, or there are too few samples or prompts.
    """
    for sort in plan.sorts:
        if sort not in SORTS:
            raise ConfigError(f"no such sort of case: {sort}", near_misses(sort, SORTS))
    pool = Pool.of([read_responses(path) for path in samples])
    if len(pool.samples) < 2 or len(pool.ids) < plan.n:
        raise ConfigError(
            f"{len(pool.samples)} samples of {len(pool.ids)} shared prompts",
            f"give two samples or more of at least {plan.n} prompts",
        )
    edits = HELD_OUT if plan.edits == "held-out" else DEVELOPMENT
    rows: list[dict[str, Any]] = []
    for k in range(plan.nulls):
        rng = np.random.default_rng([plan.seed, 0, k])
        rows += _case(
            plant(pool, {}, plan.n, 0, conditional=False, rng=rng), plan, {"sort": "null", "run": k}
        )
        progress(f"null {k + 1}/{plan.nulls}")
    names = sorted(edits)
    for s, sort in enumerate(plan.sorts):
        count, conditional = SORTS[sort]
        for r, rate in enumerate(plan.rates):
            for k in range(plan.runs):
                rng = np.random.default_rng([plan.seed, 1 + s, r, k])
                # Edits take turns, so that each is planted equally often.
                chosen = [names[(k * count + i) % len(names)] for i in range(count)]
                case = plant(
                    pool,
                    {c: edits[c] for c in chosen},
                    plan.n,
                    rate,
                    conditional=conditional,
                    rng=rng,
                )
                rows += _case(case, plan, {"sort": sort, "rate": rate, "run": k})
            progress(f"{sort} {rate:.0%} done")
    return rows


def _case(case: Case, plan: Plan, about: dict[str, Any]) -> list[dict[str, Any]]:
    start = time.perf_counter()
    diff = compare(case.a, case.b, fdr=plan.fdr, seed=plan.seed)
    rows = [
        _row(OURS, case, claims_of(diff), about, time.perf_counter() - start)
        | {"p": diff.gate.p, "parts": diff.gate.parts, "control": len(diff.control.findings)}
    ]
    if plan.opponents:
        for name, method in BASELINES.items():
            start = time.perf_counter()
            claims = method(case, plan.fdr)
            rows.append(_row(name, case, claims, about, time.perf_counter() - start))
    return rows


def _row(
    method: str, case: Case, claims: list[Claim], about: dict[str, Any], seconds: float
) -> dict[str, Any]:
    result = score(case, claims)
    return {
        **about,
        "method": method,
        "recovered": result.recovered,
        "claims": result.claims,
        "unmatched": result.unmatched,
        "false": result.false,
        "seconds": round(seconds, 3),
        "said": [c.what for c in claims[:12]],
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Lay results out: recall by sort and rate, nulls with claims, false and unmatched shares."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    cells = sorted({(r["sort"], r["rate"]) for r in rows if r["sort"] != "null"})
    lines = [
        "| method | silent nulls | "
        + " | ".join(f"{s} {r:.0%}" for s, r in cells)
        + " | false | unmatched | s/case |"
    ]
    lines.append("|" + "---|" * (len(cells) + 5))
    for method in methods:
        mine = [r for r in rows if r["method"] == method]
        nulls = [r["claims"] == 0 for r in mine if r["sort"] == "null"]
        recalls = []
        for cell in cells:
            hits = [
                hit
                for r in mine
                if (r["sort"], r.get("rate")) == cell
                for hit in r["recovered"].values()
            ]
            recalls.append(f"{np.mean(hits):.2f}" if hits else "")
        # The proportion in each run, 0 where nothing was claimed; then the mean over runs.
        false, unmatched = (
            float(np.mean([r[key] / max(r["claims"], 1) for r in mine]))
            for key in ("false", "unmatched")
        )
        seconds = float(np.median([r["seconds"] for r in mine]))
        silent = f"{np.mean(nulls):.2f}" if nulls else ""
        lines.append(
            f"| {method} | {silent} | "
            + " | ".join(recalls)
            + f" | {false:.3f} | {unmatched:.3f} | {seconds:.2f} |"
        )
    return "\n".join(lines)
