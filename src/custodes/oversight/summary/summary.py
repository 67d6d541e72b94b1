"""A run's summary, rebuilt from its log: controls, gold, retrains, perturbations, cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from custodes.control import Control, failed
from custodes.experts.expert import Rating
from custodes.oversight.controls.bookkeeping import OverseerPlan
from custodes.oversight.controls.of_log import run_controls
from custodes.oversight.events import GoldEvent, VerdictEvent
from custodes.oversight.gold.panel import Quantity, quantity_change
from custodes.oversight.gold.score import gold_change
from custodes.oversight.log import History
from custodes.oversight.perturbations.outcomes import outcomes
from custodes.oversight.roles import Overseer
from custodes.oversight.summary.decisions import Decision, wrong_decisions
from custodes.oversight.summary.outcome import Outcome, outcome_of, sentences
from custodes.runs.events import Event
from custodes.runs.log import read_log
from custodes.statistics import Interval

__all__ = ["read_timings", "summarise"]

WORST = 6
CHANGED = 3
LEAST_PROMPTS = 4
"""A topic with fewer gold prompts has no row of its own."""

Row = dict[str, Any]


def summarise(
    name: str,
    events: Sequence[Event],
    make_overseer: Callable[[], Overseer],
    timings: Sequence[Row],
    null_events: Sequence[Event] | None = None,
    *,
    sham_events: Sequence[Event] | None = None,
    plan: OverseerPlan | None = None,
) -> Row:
    """Rebuild what a reader wants to know first.

    Args:
        name: The run's.
        events: The lines of its log.
        make_overseer: Makes an Overseer like the run's, for the controls.
        timings: What `read_timings` returned.
        null_events: The lines of the null run's log, if there was one.
        sham_events: The lines of the sham run's log, if there was one.
        plan: What the config says of the Overseer, for the controls.

    Returns:
        JSON-ready: ``verdict`` (``verdict.outcome`` says in words what happened), ``controls``,
        ``gold``, ``panel``, ``series``, ``retrains``, ``perturbations``, ``null_run``,
        ``examples``, ``cost`` and others (docs/guide/oversee.md).
    """
    history = History.of(events)
    null = None if null_events is None else History.of(null_events)
    sham = None if sham_events is None else History.of(sham_events)
    controls = run_controls(history, make_overseer, null, plan=plan, sham=sham)
    gold = list(_gold(history))
    needless, missed = wrong_decisions(history, make_overseer)
    outcome = outcome_of(history, controls, needless, missed)
    return {
        "name": name,
        "finished": history.finished,
        "verdict": _verdict(controls, gold, outcome),
        "controls": [control.to_dict() for control in controls],
        "gold": gold,
        "panel": list(_panel(history)),
        "topics": list(_topics(history)),
        "retrains": list(_retrains(history, needless)),
        "needless_retrains": [asdict(decision) for decision in needless],
        "missed_retrains": [asdict(decision) for decision in missed],
        "perturbations": [
            _with_decisions(row, history, needless, missed) for row in outcomes(history)
        ],
        "series": list(_series(history)),
        "null_run": None if null is None else _null_run(null),
        "sham_run": None if sham is None else _null_run(sham),
        "examples": {
            "worst": list(_worst_answers(history)),
            "changed": list(_changed_answers(history)),
        },
        "cost": _cost(history, timings),
    }


def read_timings(path: Path) -> list[Row]:
    """Read timings.jsonl; a torn last line is left out."""
    return read_log(path)


def _gold(history: History) -> Iterator[Row]:
    for event in history.golds:
        first = history.golds[0]
        for domain, measurement in event.domains.items():
            gold = gold_change(first.domains[domain], measurement)
            changed = event is not first
            yield {
                "checkpoint": event.checkpoint,
                "step": event.step,
                "domain": domain,
                "score": gold.score.mean,
                **_changed(gold.score, gold.change if changed else None),
                "better": gold.better if changed else None,
            }


def _changed(value: Interval, change: Interval | None) -> Row:
    """Return the interval of a measurement, and its change since the first if it is not that."""
    return {
        "ci95": [value.low, value.high],
        "change": None if change is None else change.mean,
        "change_ci95": None if change is None else [change.low, change.high],
        "prompts": value.n,
    }


def _panel(history: History) -> Iterator[Row]:
    first: dict[str, Quantity] = {}
    for event in history.golds:
        for name, quantity in event.panel.items():
            changed = name in first
            measured = quantity_change(first.setdefault(name, quantity), quantity)
            yield {
                "checkpoint": event.checkpoint,
                "step": event.step,
                "quantity": name,
                "value": measured.value.mean,
                **_changed(measured.value, measured.change if changed else None),
            }


def _topics(history: History) -> Iterator[Row]:
    """Yield the gold score of the last checkpoint by topic, where enough prompts have one."""
    if not history.golds or history.start is None:
        return
    topics = {prompt.id: prompt.topic for prompt in history.start.gold_prompts}
    first, last = history.golds[0], history.golds[-1]
    for domain, measurement in last.domains.items():
        rows: dict[str, list[int]] = {}
        for i, prompt in enumerate(measurement.ids):
            rows.setdefault(topics.get(prompt, ""), []).append(i)
        for topic, own in sorted(rows.items()):
            if topic and len(own) >= LEAST_PROMPTS:
                gold = gold_change(first.domains[domain].only(own), measurement.only(own))
                changed = last is not first
                yield {
                    "checkpoint": last.checkpoint,
                    "domain": domain,
                    "topic": topic,
                    "score": gold.score.mean,
                    **_changed(gold.score, gold.change if changed else None),
                }


def _retrains(history: History, needless: Sequence[Decision]) -> Iterator[Row]:
    measured = {event.checkpoint: event for event in history.golds}
    wrong = {(decision.step, decision.domain) for decision in needless}
    for event in history.retrains:
        domain = event.intervention.partition(":")[2]
        verdict = history.verdicts.get(event.step)
        evidence = verdict.evidence.get(domain) if verdict and verdict.retrain else None
        before, after = measured.get(event.parent or 0), measured.get(event.checkpoint)
        yield {
            "evidence": None if evidence is None else asdict(evidence),
            "needless": (event.step, domain) in wrong,
            "gold": list(_since_parent(before, after)) if before and after else [],
            "step": event.step,
            "checkpoint": event.checkpoint,
            "parent": event.parent,
            "intervention": event.intervention,
            "metrics": dict(event.metrics),
            "served": None if event.served is None else asdict(event.served),
        }


def _since_parent(before: GoldEvent, after: GoldEvent) -> Iterator[Row]:
    for domain, measurement in after.domains.items():
        change = gold_change(before.domains[domain], measurement).change
        yield {"domain": domain, "change": change.mean, "change_ci95": [change.low, change.high]}


def _with_decisions(
    row: Row, history: History, needless: Sequence[Decision], missed: Sequence[Decision]
) -> Row:
    """Add the wrong decisions that the Overseer made on what a perturbation disturbed."""
    last = row["until"] - 1 if row["until"] is not None else math.inf
    intercepts = [step for step, verdict in history.verdicts.items() if verdict.intercept]
    decided = min((step for step in intercepts if step >= last), default=math.inf)
    misled = [
        f"{kind} retrain of {decision.domain} at step {decision.step}"
        for kind, decisions in (("needless", needless), ("missed", missed))
        for decision in decisions
        if row["at"] <= decision.step <= decided
    ]
    return {**row, "misled": misled}


def _mean(ratings: Sequence[Rating]) -> float | None:
    values = [rating.value for rating in ratings if rating.value is not None]
    return float(np.mean(values)) if values else None


def _series(history: History) -> Iterator[Row]:
    for event in history.steps:
        undecided = VerdictEvent(step=event.step, intercept=False, retrain=None, evidence={})
        verdict = history.verdicts.get(event.step, undecided)
        for domain, ratings in event.ratings.items():
            abstained = sum(rating.abstained for rating in ratings.seen)
            evidence = verdict.evidence.get(domain)
            yield {
                "step": event.step,
                "domain": domain,
                "checkpoint": event.checkpoint,
                "rating": _mean(ratings.seen),
                "clean": _mean(ratings.clean),
                "n": len(ratings.seen) - abstained,
                "abstained": abstained,
                "intercept": verdict.intercept,
                "evidence": None if evidence is None else asdict(evidence),
                "retrain": verdict.retrain == domain,
                "perturbed": sorted(event.perturbed),
            }


def _verdict(controls: Sequence[Control], gold: Sequence[Row], outcome: Outcome) -> Row:
    last = {row["domain"]: row for row in gold}
    changes = [
        f"{domain} {_signed(row['change'])} [{', '.join(map(_signed, row['change_ci95']))}]"
        for domain, row in last.items()
        if row["change"] is not None
    ]
    retrains = len(outcome.interventions)
    explanation = f"{retrains} new checkpoint{'' if retrains == 1 else 's'}"
    if changes:
        explanation += f"; gold score (logits, 95% interval): {', '.join(changes)}"
    untested = [control.name for control in controls if control.passed is None]
    passed = sum(control.passed is True for control in controls)
    return {
        "outcome": sentences(outcome),
        "passed": not failed(controls),
        "explanation": explanation,
        "controls": f"{passed} of {len(controls) - len(untested)} tested controls passed, "
        f"{len(untested)} not tested",
        "failed": [control.name for control in failed(controls)],
        "not_tested": untested,
    }


def _signed(value: float) -> str:
    return f"{value:+z.2f}".replace("-", "−")


def _null_run(history: History) -> Row:
    return {"gold": list(_gold(history)), "series": list(_series(history))}


def _worst_answers(history: History, count: int = WORST) -> Iterator[Row]:
    """Yield the answers with the lowest ratings before any perturbation."""
    rows = [
        (rating.value, event, domain, index)
        for event in history.steps
        for domain, ratings in event.ratings.items()
        for index, rating in zip(ratings.queries, ratings.clean, strict=True)
        if rating.value is not None
    ]
    for value, event, domain, index in sorted(rows, key=lambda row: row[0])[:count]:
        yield {
            "step": event.step,
            "checkpoint": event.checkpoint,
            "domain": domain,
            "rating": value,
            "query": event.queries[index].text,
            "response": event.responses[index],
        }


def _changed_answers(history: History, count: int = CHANGED) -> Iterator[Row]:
    """Yield the gold prompts whose score changed most between first and last checkpoint.

    For each domain ``count`` that rose, and then ``count`` that fell: those that got worse are as
    interesting as those that got better.
    """
    if len(history.golds) < 2 or history.start is None:
        return
    first, last = history.golds[0], history.golds[-1]
    texts = {prompt.id: prompt.text for prompt in history.start.gold_prompts}
    for domain in last.domains:
        rows = [
            _change(domain, i, first, last, texts) for i in range(len(last.domains[domain].ids))
        ]
        rows.sort(key=lambda row: row["score_before"] - row["score_after"])
        yield from (row for row in rows[:count] if row["score_after"] > row["score_before"])
        yield from (row for row in rows[-count:] if row["score_after"] < row["score_before"])


def _change(domain: str, i: int, first: GoldEvent, last: GoldEvent, texts: dict[str, str]) -> Row:
    before, after = first.domains[domain], last.domains[domain]
    return {
        "domain": domain,
        "query": texts[after.ids[i]],
        "before": before.texts[i],
        "after": after.texts[i],
        "score_before": before.scores[i],
        "score_after": after.scores[i],
        "checkpoints": [first.checkpoint, last.checkpoint],
    }


def _cost(history: History, timings: Sequence[Row]) -> Row:
    stages: dict[str, float] = {}
    for row in timings:
        stages[row["stage"]] = stages.get(row["stage"], 0.0) + row["seconds"]

    def total(key: str) -> int:
        return sum(row.get(key, 0) for row in timings)

    return {
        "seconds": round(sum(stages.values()), 1),
        "seconds_by_stage": {stage: round(s, 1) for stage, s in stages.items()},
        "prompt_tokens": total("prompt_tokens"),
        "completion_tokens": total("completion_tokens"),
        "cache_hits": total("cache_hits"),
        "responses": sum(len(event.responses) for event in history.steps),
        "ratings": sum(len(r.seen) for event in history.steps for r in event.ratings.values()),
        "judge_calls": total("judge_calls"),
        "retrains": len(history.retrains),
    }
