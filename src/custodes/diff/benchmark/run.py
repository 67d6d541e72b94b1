"""Run the planted-difference benchmark: custodes diff and its opponents on the same cases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from custodes.diff.benchmark.opponents import BASELINES
from custodes.diff.benchmark.planted import Case, Claim, Pool, mix, plant, score
from custodes.diff.benchmark.samples import SYSTEMS, make_samples, open_samples
from custodes.diff.benchmark.strange_edits import EDITS
from custodes.diff.compare import Diff, compare
from custodes.errors import ConfigError, near_misses

__all__ = ["SORTS", "Plan", "claims_of", "default_samples", "run", "table"]

OURS = "custodes diff"
MODEL = "smollm2-135m"


@dataclass(frozen=True)
class _Sort:
    """A sort of case: edits planted at once, whether conditional, and what else is different."""

    edits: int = 1
    conditional: bool = False
    distractor: str = ""
    needs: tuple[str, ...] = ()


SORTS: dict[str, _Sort] = {
    "global": _Sort(),
    "five": _Sort(edits=5),
    "conditional": _Sort(conditional=True),
    "length": _Sort(distractor="length"),
    "temperature": _Sort(distractor="temperature", needs=("hot",)),
    **{f"system-{s}": _Sort(edits=0, needs=(f"system-{s}",)) for s in SYSTEMS},
}


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        runs: Cases for each sort and rate.
        nulls: Cases with nothing planted.
        n: Prompts in a case.
        rates: Shares of the prompts (of the condition's prompts) that an edit changes.
        sorts: Of ``SORTS``; all that the samples allow by default.
        edits: "development" or "held-out".
        fdr: What every method is asked for.
        seed: Of all cases.
        opponents: Whether to run them.
    """

    runs: int = 40
    nulls: int = 200
    n: int = 500
    rates: tuple[float, ...] = (0.01, 0.02, 0.04, 0.08, 0.16)
    sorts: tuple[str, ...] = ()
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
        if finding.absent:
            # The planted responses are those that no longer show it.
            evidence = frozenset(i for i, way in moved.items() if way * finding.size.effect > 0)
        claims.append(Claim(finding.statement, evidence, a | b, moved))
    return claims


def default_samples(progress: Callable[[str], None] = lambda _: None) -> Path:
    """Return the folder of the bundled model's samples, made where they are not there yet."""
    from custodes.models.cache import cache_dir
    from custodes.models.resolve import load

    folder = cache_dir() / "planted"
    # Making is cheap to ask for and does nothing where every file is there.
    if not (folder / "complete").exists():
        make_samples(load(MODEL), folder, progress=progress)
        (folder / "complete").touch()
    return folder


def run(
    samples: Sequence[Path], plan: Plan, progress: Callable[[str], None] = lambda _: None
) -> list[dict[str, Any]]:
    """Run all cases of a plan, every method on each.

    Args:
        samples: Response files of independent draws of one model over the same prompts, or the
            folder that `make_samples` left; none for the bundled model's, sampled once.
        plan: What to run.
        progress: Told after every ten cases.

    Returns:
        One row for each method and case, ready for JSON.

    Raises:
        ConfigError: A sort of case or set of edits is unknown, or there are too few samples or
            prompts.
    """
    for name, known in [(s, SORTS) for s in plan.sorts] + [(plan.edits, EDITS)]:
        if name not in known:
            raise ConfigError(f"the benchmark knows no {name}", near_misses(name, known))
    plain, others = open_samples(samples or [default_samples(progress)])
    pool = Pool.of(plain, others)
    _check(pool, plan)
    rows: list[dict[str, Any]] = []
    for k, (about, case) in enumerate(_cases(pool, plan), start=1):
        rows += _measure(case, plan, about)
        if k % 10 == 0:
            progress(f"{k} cases, the last: " + " ".join(map(str, about.values())))
    return rows


def _check(pool: Pool, plan: Plan) -> None:
    if len(pool.ids) < plan.n:
        raise ConfigError(
            f"the samples share {len(pool.ids)} prompts", f"{plan.n} are needed for a case"
        )
    for sort in plan.sorts:
        for other in SORTS[sort].needs:
            if len(pool.others.get(other, ())) < plan.n:
                raise ConfigError(
                    f"{sort} needs {plan.n} responses of {other}.jsonl",
                    "give a folder made with --make, or leave it out of the sorts",
                )


def _cases(pool: Pool, plan: Plan) -> Iterator[tuple[dict[str, Any], Case]]:
    for k in range(plan.nulls):
        rng = np.random.default_rng([plan.seed, 0, k])
        yield {"sort": "null", "run": k}, plant(pool, {}, plan.n, 0, conditional=False, rng=rng)
    edits = EDITS[plan.edits]
    names = sorted(edits)
    for s, (name, sort) in enumerate(SORTS.items(), start=1):
        if plan.sorts and name not in plan.sorts:
            continue
        if any(len(pool.others.get(other, ())) < plan.n for other in sort.needs):
            continue
        for rate in plan.rates:
            for k in range(plan.runs):
                rng = np.random.default_rng([plan.seed, s, round(1e4 * rate), k])
                about = {"sort": name, "rate": rate, "run": k}
                if not sort.edits:
                    yield about, mix(pool, sort.needs[0], plan.n, rate, rng)
                    continue
                # Edits take turns, so that each is planted equally often.
                mine = [names[(k * sort.edits + i) % len(names)] for i in range(sort.edits)]
                yield (
                    about,
                    plant(
                        pool,
                        {c: edits[c] for c in mine},
                        plan.n,
                        rate,
                        conditional=sort.conditional,
                        rng=rng,
                        distractor=sort.distractor,
                    ),
                )


def _measure(case: Case, plan: Plan, about: dict[str, Any]) -> list[dict[str, Any]]:
    start = time.perf_counter()
    diff = compare(case.a, case.b, fdr=plan.fdr, seed=plan.seed)
    rows = [
        _row(OURS, case, claims_of(diff), about, time.perf_counter() - start)
        | {
            "p": diff.global_test.p,
            "components": diff.global_test.components,
            "control": len(diff.aa_run.findings),
        }
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
        "planted": {name: len(ids) for name, ids in case.planted.items()},
        "recovered": result.recovered,
        "by_either": result.by_either,
        "claims": result.claims,
        "unmatched": result.unmatched,
        "false": result.false,
        "seconds": round(seconds, 3),
        "statements": [claim.statement for claim in claims[:12]],
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Lay results out: recall by sort and rate, nulls with claims, false and unmatched shares."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    order = ["null", *SORTS]
    cells = sorted(
        {(r["sort"], r.get("rate", 0.0)) for r in rows}, key=lambda c: (order.index(c[0]), c[1])
    )
    lines = ["| | " + " | ".join(methods) + " |", "|" + "---|" * (len(methods) + 1)]
    for sort, rate in cells:
        here = [r for r in rows if (r["sort"], r.get("rate", 0.0)) == (sort, rate)]
        mine = [[r for r in here if r["method"] == m] for m in methods]
        if sort == "null":
            name = "silent where nothing differs"
            values = [[not r["claims"] for r in m] for m in mine]
        else:
            name = f"recall, {sort} {rate:.0%}"
            values = [[hit for r in m for hit in r["recovered"].values()] for m in mine]
        lines.append(_line(f"{name} ({len(mine[0])})", [_mean(v) for v in values]))
    mine = [[r for r in rows if r["method"] == m] for m in methods]
    # The proportion in each run, 0 where nothing was claimed; then the mean over runs.
    for key, name in (("false", "false findings"), ("unmatched", "findings that match no edit")):
        shares = [[r[key] / max(r["claims"], 1) for r in m] for m in mine]
        lines.append(_line(f"{name}: mean proportion", [_mean(v, 3) for v in shares]))
    seconds = [f"{np.median([r['seconds'] for r in m]):.2f}" for m in mine]
    lines.append(_line("seconds a case", seconds))
    return "\n".join(lines)


def _line(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"


def _mean(values: Sequence[float], digits: int = 2) -> str:
    return f"{np.mean(values):.{digits}f}" if len(values) else ""
