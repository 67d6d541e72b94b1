"""A run's summary, rebuilt from its log: controls, gold, retrains, perturbations, cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from custodes.oversight.controls import run_controls
from custodes.oversight.gold import gold_change
from custodes.oversight.overseer import OverseerOptions
from custodes.oversight.perturbations.recovery import recovery
from custodes.runs.events import Event

__all__ = ["summarise"]

SHOWN = 6
CHANGED = 3


def summarise(
    name: str,
    events: Sequence[Event],
    overseer: OverseerOptions,
    timings: Sequence[dict[str, Any]],
    null_events: Sequence[Event] | None = None,
) -> dict[str, Any]:
    """Rebuild everything a reader wants to know first.

    Returns:
        JSON-ready: ``verdict``, ``controls``, ``gold``, ``series``, ``retrains``,
        ``perturbations``, ``null_run``, ``examples`` and ``cost`` (docs/oversee.md has each).
    """
    controls = run_controls(events, overseer, null_events)
    gold = list(_gold(events))
    retrains = list(_retrains(events))
    series = list(_series(events))
    return {
        "name": name,
        "finished": any(event["kind"] == "end" for event in events),
        "verdict": _verdict(controls, gold, retrains),
        "controls": controls,
        "gold": gold,
        "retrains": retrains,
        "perturbations": list(_perturbations(events)),
        "series": series,
        "null_run": None if null_events is None else _null_run(null_events),
        "examples": {"worst": list(_worst(events)), "changed": list(_changed(events))},
        "cost": _cost(events, timings),
    }


def read_timings(path: Path) -> list[dict[str, Any]]:
    """Read timings.jsonl; a torn last line is left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _of(events: Sequence[Event], kind: str) -> list[Event]:
    return [event for event in events if event["kind"] == kind]


def _gold(events: Sequence[Event]) -> Iterator[dict[str, Any]]:
    measured = _of(events, "gold")
    for event in measured:
        for domain, now in event["domains"].items():
            found = gold_change(measured[0]["domains"][domain], now)
            first = event is measured[0]
            yield {
                "checkpoint": event["checkpoint"],
                "step": event["step"],
                "domain": domain,
                "score": found.score.mean,
                "ci95": [found.score.low, found.score.high],
                "change": None if first else found.change.mean,
                "change_ci95": None if first else [found.change.low, found.change.high],
                "better": None if first else found.better,
                "prompts": found.score.n,
            }


def _retrains(events: Sequence[Event]) -> Iterator[dict[str, Any]]:
    for event in _of(events, "checkpoint"):
        if event["parent"] is not None:
            yield {
                key: event[key]
                for key in ("step", "checkpoint", "parent", "intervention", "metrics", "served")
            }


def _mean(values: Sequence[float | None]) -> float | None:
    given = [value for value in values if value is not None]
    return float(np.mean(given)) if given else None


def _series(events: Sequence[Event]) -> Iterator[dict[str, Any]]:
    verdicts = {event["step"]: event for event in _of(events, "verdict")}
    for event in _of(events, "step"):
        verdict = verdicts.get(event["step"], {"evidence": {}, "intercept": False, "retrain": None})
        for domain, given in event["ratings"].items():
            yield {
                "step": event["step"],
                "domain": domain,
                "checkpoint": event["checkpoint"],
                "rating": _mean(given["values"]),
                "clean": _mean(given["clean"]),
                "n": len(given["values"]) - given["values"].count(None),
                "abstained": given["values"].count(None),
                "intercept": verdict["intercept"],
                "evidence": verdict["evidence"].get(domain),
                "retrain": verdict["retrain"] == domain,
                "perturbed": sorted(event["perturbed"]),
            }


def _perturbations(events: Sequence[Event]) -> Iterator[dict[str, Any]]:
    planned = [p for event in _of(events, "start") for p in event["perturbations"]]
    clean = _clean_by_prompt(events)
    for this in planned:
        later = [other["at"] for other in planned if other["at"] > this["at"]]
        for domain, ratings in clean.items():
            told = {s: r for s, r in ratings.items() if not later or s < min(later)}
            found = asdict(recovery(told, this["at"], this["until"]))
            yield {**this, "domain": domain, "recovery": found}


def _clean_by_prompt(events: Sequence[Event]) -> dict[str, dict[int, dict[str, float]]]:
    """By domain, step and prompt: what the Experts said before anything disturbed them."""
    clean: dict[str, dict[int, dict[str, float]]] = {}
    for event in _of(events, "step"):
        for domain, given in event["ratings"].items():
            clean.setdefault(domain, {})[event["step"]] = {
                event["queries"][i]["id"]: value
                for i, value in zip(given["queries"], given["clean"], strict=True)
                if value is not None
            }
    return clean


def _verdict(
    controls: Sequence[dict[str, Any]],
    gold: Sequence[dict[str, Any]],
    retrains: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    failed = [control["name"] for control in controls if not control["ok"]]
    last = {row["domain"]: row for row in gold}
    changes = [
        f"{domain} {_signed(row['change'])} [{', '.join(map(_signed, row['change_ci95']))}]"
        for domain, row in last.items()
        if row["change"] is not None
    ]
    says = f"{len(retrains)} new checkpoint{'' if len(retrains) == 1 else 's'}"
    says += f"; gold score (logits, 95% interval): {', '.join(changes)}" if changes else ""
    held = len(controls) - len(failed)
    return {
        "ok": not failed,
        "says": says,
        "controls": f"{held} of {len(controls)} controls held",
        "failed": failed,
    }


def _signed(value: float) -> str:
    return f"{value:+z.2f}".replace("-", "−")


def _null_run(events: Sequence[Event]) -> dict[str, Any]:
    return {"gold": list(_gold(events)), "series": list(_series(events))}


def _worst(events: Sequence[Event]) -> Iterator[dict[str, Any]]:
    """The responses rated lowest, by the ratings nothing has disturbed."""
    rated = [
        (value, event, domain, index)
        for event in _of(events, "step")
        for domain, given in event["ratings"].items()
        for index, value in zip(given["queries"], given["clean"], strict=True)
        if value is not None
    ]
    for value, event, domain, index in sorted(rated, key=lambda row: row[0])[:SHOWN]:
        yield {
            "step": event["step"],
            "checkpoint": event["checkpoint"],
            "domain": domain,
            "rating": value,
            "query": event["queries"][index]["chat"][-1]["content"],
            "response": event["responses"][index],
        }


def _changed(events: Sequence[Event]) -> Iterator[dict[str, Any]]:
    """The gold prompts whose score changed most between the first and the last checkpoint."""
    measured = _of(events, "gold")
    if len(measured) < 2:
        return
    first, last = measured[0], measured[-1]
    asked = {q["id"]: q["text"] for e in _of(events, "start") for q in e["gold_prompts"]}
    for domain, now in last["domains"].items():
        rows = [
            {
                "domain": domain,
                "query": asked[identity],
                "before": first["domains"][domain]["texts"][i],
                "after": now["texts"][i],
                "score_before": first["domains"][domain]["scores"][i],
                "score_after": now["scores"][i],
                "checkpoints": [first["checkpoint"], last["checkpoint"]],
            }
            for i, identity in enumerate(now["ids"])
        ]
        rows.sort(key=lambda row: row["score_before"] - row["score_after"])
        # Those that got worse are as interesting as those that got better.
        yield from (row for row in rows[:CHANGED] if row["score_after"] > row["score_before"])
        yield from (row for row in rows[-CHANGED:] if row["score_after"] < row["score_before"])


def _cost(events: Sequence[Event], timings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    stages: dict[str, float] = {}
    for row in timings:
        stages[row["stage"]] = stages.get(row["stage"], 0.0) + row["seconds"]
    return {
        "seconds": round(sum(stages.values()), 1),
        "seconds_by_stage": {stage: round(s, 1) for stage, s in stages.items()},
        "prompt_tokens": sum(row.get("prompt_tokens", 0) for row in timings),
        "completion_tokens": sum(row.get("completion_tokens", 0) for row in timings),
        "cache_hits": sum(row.get("cache_hits", 0) for row in timings),
        "responses": sum(len(event["responses"]) for event in _of(events, "step")),
        "ratings": sum(
            len(given["values"]) for e in _of(events, "step") for given in e["ratings"].values()
        ),
        "judge_calls": sum(row.get("judge_calls", 0) for row in timings),
        "retrains": sum(e["parent"] is not None for e in _of(events, "checkpoint")),
    }
