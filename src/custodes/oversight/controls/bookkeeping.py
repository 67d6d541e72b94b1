"""Does the log say one consistent thing? Checked from the config and the log, not from the loop."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from custodes.control import Control
from custodes.oversight.events import StepEvent, VerdictEvent
from custodes.oversight.log import History

__all__ = ["OverseerPlan", "bookkeeping_controls"]

TOLERANCE = 1e-6
MANY = 4
"""Steps, and queries a step, from which on a User that asks one thing is conspicuous."""


@dataclass(frozen=True)
class OverseerPlan:
    """What the config says of the Overseer.

    Attributes:
        thresholds: By domain, the rating at or below which it fails, in [0, 1].
        overseer_steps: Steps from one intercept to the next; None where the Overseer has a rule of
            its own.
        max_retrains: Retrains that are allowed; None where there is no limit.
    """

    thresholds: Mapping[str, float]
    overseer_steps: int | None = None
    max_retrains: int | None = None


def bookkeeping_controls(history: History, plan: OverseerPlan) -> Iterator[Control]:
    """Check that steps, ratings, verdicts, retrains and checkpoints belong together.

    Args:
        history: The run's events.
        plan: What the config says of the Overseer.
    """
    yield _control("steps follow one another", _steps(history))
    yield _control("ratings belong to their queries", _ratings(history))
    yield _control("checkpoints follow verdicts", _checkpoints(history))
    yield _control("perturbations act when planned", _perturbations(history))
    yield _control("perturbed ratings differ", _rating_perturbations(history))
    yield _control("User asks different queries", _queries(history))
    yield _control("verdicts rest on the ratings", _evidence(history, plan.thresholds))
    if plan.overseer_steps is not None:
        yield _control(
            "intercepts are where the config has them", _intercepts(history, plan.overseer_steps)
        )
    if plan.max_retrains is not None:
        count = sum(verdict.retrain is not None for verdict in history.verdicts.values())
        allowed = plan.max_retrains
        problem = f"{count} retrains, {allowed} allowed" if count > allowed else ""
        yield _control("retrains within the budget", iter([problem] if problem else []))


def _control(name: str, problems: Iterator[str]) -> Control:
    listed = list(problems)
    text = "nothing inconsistent in the log" if not listed else f"{listed[0]}"
    if len(listed) > 1:
        text += f" (and {len(listed) - 1} more)"
    return Control(name, not listed, text, {"problems": len(listed)})


def _steps(history: History) -> Iterator[str]:
    numbers = [event.step for event in history.steps]
    if numbers != list(range(len(numbers))):
        yield f"the steps are numbered {numbers[:5]} …"
    for event in history.steps:
        if len(event.queries) != len(event.responses):
            counts = f"{len(event.queries)} queries, {len(event.responses)} responses"
            yield f"step {event.step} has {counts}"
        if not event.queries:
            yield f"step {event.step} asked nothing"
        if event is not history.steps[-1] and event.step not in history.verdicts:
            yield f"step {event.step} has no verdict"


def _ratings(history: History) -> Iterator[str]:
    domains = {expert.domain for expert in history.start.experts} if history.start else set()
    for event in history.steps:
        for domain, ratings in event.ratings.items():
            expected = tuple(i for i, q in enumerate(event.queries) if q.domain == domain)
            if ratings.queries != expected:
                yield f"step {event.step}: ratings of {domain} are of queries {ratings.queries[:5]}"
            if not len(ratings.queries) == len(ratings.seen) == len(ratings.clean):
                yield f"step {event.step}: {domain} has ratings without a query"
            values = [r.value for r in (*ratings.seen, *ratings.clean) if r.value is not None]
            if not all(math.isfinite(v) and 0 <= v <= 1 for v in values):
                yield f"step {event.step}: a rating of {domain} is outside [0, 1]"
            if not _disturbed(event) and ratings.seen != ratings.clean:
                yield f"step {event.step}: the Overseer saw other ratings of {domain}, undisturbed"
        unrated = {q.domain for q in event.queries} & domains - set(event.ratings)
        if event.ratings and unrated:
            yield f"step {event.step}: queries of {sorted(unrated)[0]} were not rated"


def _disturbed(event: StepEvent) -> bool:
    return bool(event.perturbed)


def _checkpoints(history: History) -> Iterator[str]:
    numbers = [event.checkpoint for event in history.checkpoints]
    if numbers != list(range(len(numbers))):
        yield f"the checkpoints are numbered {numbers[:5]}"
    for event in history.checkpoints[1:]:
        if event.parent != event.checkpoint - 1:
            yield f"checkpoint {event.checkpoint} has the parent {event.parent}"
        verdict = history.verdicts.get(event.step)
        if event.intervention.startswith("teacher:"):
            domain = event.intervention.removeprefix("teacher:")
            if verdict is None or verdict.retrain != domain:
                ordered = None if verdict is None else verdict.retrain
                yield (
                    f"checkpoint {event.checkpoint} was trained in {domain}; the verdict of step "
                    f"{event.step} was {ordered}"
                )
    versions = {step.checkpoint: step.version for step in history.steps}
    for event in history.checkpoints[1:]:
        moved = event.metrics.get("weights_moved", 0.0)
        pair = versions.get(event.checkpoint), versions.get(event.checkpoint - 1)
        if moved and None not in pair and pair[0] == pair[1]:
            yield f"checkpoint {event.checkpoint} is served as {pair[0]}, like the one before it"
    golds = [event.checkpoint for event in history.golds]
    if golds != sorted(set(golds)):
        yield f"gold scores are of the checkpoints {golds}"
    for step in history.steps:
        made = [e.checkpoint for e in history.checkpoints if _before(e.step, e.intervention, step)]
        if made and step.checkpoint != max(made):
            yield f"checkpoint {step.checkpoint} answered at step {step.step}, not {max(made)}"


def _before(made_at: int, intervention: str, step: StepEvent) -> bool:
    # Noise is put on the weights before a step's answers, a retrain comes after them.
    return made_at <= step.step if intervention == "weight_noise" else made_at < step.step


def _perturbations(history: History) -> Iterator[str]:
    planned = history.start.perturbations if history.start else ()
    for event in history.steps:
        active = {p.name for p in planned if p.at <= event.step < (p.until or math.inf)}
        for name in sorted(set(event.perturbed) - active):
            yield f"{name} acted at step {event.step}, where the config does not have it"
        for name in sorted(active - set(event.perturbed)):
            yield f"{name} did not act at step {event.step}, where the config has it"


def _rating_perturbations(history: History) -> Iterator[str]:
    """Compare what a perturbation of the ratings reports with the ratings in the log."""
    planned = history.start.perturbations if history.start else ()
    names = {p.name for p in planned if p.kind.endswith("_expert")}
    reported = any(e.perturbed.get(name, 0) > 0 for e in history.steps for name in names)
    different = any(
        ratings.seen != ratings.clean for e in history.steps for ratings in e.ratings.values()
    )
    if reported and not different:
        yield "a perturbation reports that it changed ratings, and none in the log is changed"


def _queries(history: History) -> Iterator[str]:
    texts = [query.text for event in history.steps for query in event.queries]
    if len(history.steps) >= MANY and len(texts) >= MANY * MANY and len(set(texts)) <= 2:
        yield f"{len(texts)} queries have {len(set(texts))} different texts"


def _intercepts(history: History, every: int) -> Iterator[str]:
    for step, verdict in history.verdicts.items():
        if verdict.intercept != ((step + 1) % every == 0):
            yield f"step {step} {'is' if verdict.intercept else 'is not'} an intercept"


def _evidence(history: History, thresholds: Mapping[str, float]) -> Iterator[str]:
    """Recompute from the log what each verdict says it rests on."""
    values: dict[str, list[float]] = {}
    checkpoint = 0
    for event in history.steps:
        if event.checkpoint != checkpoint:
            values, checkpoint = {}, event.checkpoint
        for domain, ratings in event.ratings.items():
            values.setdefault(domain, []).extend(
                r.value for r in ratings.seen if r.value is not None
            )
        verdict = history.verdicts.get(event.step)
        if verdict is not None and verdict.intercept:
            yield from _compare(verdict, values, thresholds)
            values = {}


def _compare(
    verdict: VerdictEvent, values: Mapping[str, list[float]], thresholds: Mapping[str, float]
) -> Iterator[str]:
    for domain, evidence in verdict.evidence.items():
        ratings = values.get(domain, [])
        mean = sum(ratings) / len(ratings) if ratings else 0.0
        where = f"step {verdict.step}: the verdict on {domain}"
        if evidence.n != len(ratings) or abs(evidence.mean - mean) > TOLERANCE:
            yield (
                f"{where} rests on {evidence.n} ratings of mean {evidence.mean:.3f}; the log has "
                f"{len(ratings)} of mean {mean:.3f}"
            )
        if domain in thresholds and abs(evidence.threshold - thresholds[domain]) > TOLERANCE:
            yield f"{where} used the threshold {evidence.threshold:g}"
        if evidence.failing != (evidence.n > 0 and evidence.statistic <= evidence.threshold):
            outcome = "failing" if evidence.failing else "passing"
            yield f"{where} calls {evidence.statistic:.3f} {outcome}"
        # The bound bets on ratings in their order: where they fall, it may be above their mean.
        if evidence.n and evidence.statistic > max(ratings, default=1.0) + TOLERANCE:
            yield f"{where} weighs the ratings as {evidence.statistic:.3f}, above all of them"
    retrained = verdict.retrain
    # An Overseer with a rule of its own need not give evidence.
    own = verdict.evidence.get(retrained) if retrained is not None else None
    if own is not None and not own.failing:
        yield f"step {verdict.step}: {retrained} was retrained and passed"
