"""The controls of a run: for every result, what would have exposed it if it were wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from custodes.control import Control, ordered
from custodes.oversight.controls.bookkeeping import OverseerPlan, bookkeeping_controls
from custodes.oversight.controls.coherence import coherence_controls
from custodes.oversight.controls.overseer import overseer_controls
from custodes.oversight.controls.teaching import (
    ALPHA,
    change_between,
    sham_controls,
    teaching_controls,
)
from custodes.oversight.events import CheckpointEvent, GoldCard
from custodes.oversight.log import History
from custodes.oversight.roles import Overseer

__all__ = ["run_controls"]

LEAST_MOVE = 1e-5
MOST_ABSTENTIONS = 0.5


def run_controls(
    history: History,
    make_overseer: Callable[[], Overseer],
    null: History | None = None,
    *,
    plan: OverseerPlan | None = None,
    sham: History | None = None,
) -> list[Control]:
    """Check a run by its log.

    Args:
        history: The run's events.
        make_overseer: Makes an Overseer like the run's.
        null: The events of its null run, if there was one.
        plan: What the config says of the Overseer; without it no control compares with the config.
        sham: The events of its sham run, if there was one.

    Returns:
        The controls: those that failed first, then those that were not tested.
    """
    return ordered(
        [
            *_checkpoints(history),
            *_experts(history),
            *_abstentions(history),
            *_perturbations(history),
            *_gold(history),
            _verdicts(history, make_overseer()),
            *teaching_controls(history),
            *coherence_controls(history),
            *history.audit,
            *(overseer_controls(make_overseer, plan) if plan else ()),
            *(bookkeeping_controls(history, plan) if plan else ()),
            *_null_run(history, null),
            *sham_controls(history, sham),
        ]
    )


def _checkpoints(history: History) -> Iterator[Control]:
    for event in history.checkpoints:
        subject = f"checkpoint {event.checkpoint} ({event.intervention})"
        if event.parent is not None:
            yield _weights_moved(event).about(subject)
        if event.served is not None:
            yield event.served.control().about(subject)
        for control in event.controls:
            yield control.about(subject)


def _weights_moved(event: CheckpointEvent) -> Control:
    moved = event.metrics.get("weights_moved", 0.0)
    return Control(
        "weights moved",
        math.isfinite(moved) and moved > LEAST_MOVE,
        f"the relative norm of the change is {moved:.2g} (must exceed {LEAST_MOVE:g})",
        {"norm": moved, "least": LEAST_MOVE},
    )


def _experts(history: History) -> Iterator[Control]:
    for expert in history.start.experts if history.start else ():
        for control in expert.controls:
            # A later probe tests what could not be tested at the start.
            if control.passed is not None or not _probed(history, expert.name, control.name):
                yield control.about(expert.name)
    for event in history.probes:
        for probe in event.probes:
            yield probe.control.about(probe.name)


def _probed(history: History, expert: str, control: str) -> bool:
    probes = [probe for event in history.probes for probe in event.probes]
    return any(probe.name == expert and probe.control.name == control for probe in probes)


def _abstentions(history: History) -> Iterator[Control]:
    domains = dict.fromkeys(domain for event in history.steps for domain in event.ratings)
    for domain in domains:
        ratings = [
            rating
            for event in history.steps
            if domain in event.ratings
            for rating in event.ratings[domain].seen
        ]
        name, n = f"Expert speaks: {domain}", len(ratings)
        abstentions = sum(rating.abstained for rating in ratings)
        if not n:
            yield Control.not_tested(name, "no answer was there to rate")
            continue
        yield Control(
            name,
            abstentions / n <= MOST_ABSTENTIONS,
            f"{abstentions} of {n} ratings are abstentions (at most {MOST_ABSTENTIONS:.0%} may be)",
            {"abstentions": abstentions, "ratings": n, "most": MOST_ABSTENTIONS},
        )


def _perturbations(history: History) -> Iterator[Control]:
    largest: dict[str, float] = {}
    changes = [event.perturbed for event in history.checkpoints]
    changes += [event.perturbed for event in history.steps]
    for change in changes:
        for name, share in change.items():
            largest[name] = max(largest.get(name, 0.0), share)
    planned = [p.name for p in history.start.perturbations] if history.start else []
    for name in dict.fromkeys([*planned, *largest]):
        if name not in largest:
            yield Control.not_tested(
                f"perturbation took effect: {name}", "the run has not reached its first step"
            )
            continue
        yield Control(
            f"perturbation took effect: {name}",
            largest[name] > 0,
            f"it changed {largest[name]:.0%} of what it was shown at its strongest step "
            "(must change something)",
            {"share": largest[name]},
        )


def _gold(history: History) -> Iterator[Control]:
    for domain, card in history.start.gold.items() if history.start else ():
        yield _gold_unseen(card).about(domain)


def _gold_unseen(card: GoldCard) -> Control:
    return Control(
        "gold unseen",
        card.shared_prompts == 0 and not card.expert_in_loop,
        f"{card.shared_prompts} of its {card.prompts} prompts are also in the loop; its Expert "
        f"({card.expert}) is {'' if card.expert_in_loop else 'not '}one of the loop's",
        {"shared_prompts": card.shared_prompts, "expert_in_loop": card.expert_in_loop},
    )


def _verdicts(history: History, overseer: Overseer) -> Control:
    name = "verdicts follow from the ratings"
    if not history.verdicts:
        return Control.not_tested(name, "the log has no verdict")
    wrong = 0
    for event in history.steps[: len(history.verdicts)]:
        ratings = {domain: given.seen for domain, given in event.ratings.items()}
        verdict = overseer.review(event.step, ratings, event.checkpoint)
        wrong += verdict != history.verdicts[event.step].verdict
    total = len(history.verdicts)
    return Control(
        name,
        wrong == 0,
        f"{total - wrong} of {total} logged verdicts are what the Overseer decides when it is "
        "shown the logged ratings again",
        {"reproduced": total - wrong, "verdicts": total},
    )


def _null_run(history: History, null: History | None) -> Iterator[Control]:
    if null is None:
        reason = "there was no null run"
        yield Control.not_tested("null run asks the same", reason)
        yield Control.not_tested("null run's gold stays", reason)
        return
    same = _query_ids(history) == _query_ids(null)
    yield Control(
        "null run asks the same",
        same,
        "the run whose Teacher does nothing was asked "
        + ("the same queries" if same else "other queries, so that the two cannot be compared"),
        {"steps": len(history.steps), "null_steps": len(null.steps)},
    )
    for domain in null.golds[0].domains if null.golds else ():
        yield _gold_stays(null, domain).about(domain)


def _query_ids(history: History) -> list[list[str]]:
    return [[query.id for query in event.queries] for event in history.steps]


def _gold_stays(null: History, domain: str) -> Control:
    name = "null run's gold stays"
    if len(null.golds) < 2:
        return Control.not_tested(
            name, "the null run took the gold score only once, since it was never retrained"
        )
    if any(event.intervention == "weight_noise" for event in null.checkpoints):
        return Control.not_tested(
            name, "its weights changed, too: the perturbations put noise on them"
        )
    change = change_between(null.golds[0].domains[domain], null.golds[-1].domains[domain])
    return Control(
        name,
        min(change.p_rise, change.p_fall) > ALPHA,
        f"with a Teacher that does nothing the gold score changes by {change.mean:+.2f} "
        f"(SE {change.se:.2f}; one-sided p must be above {ALPHA})",
        {"change": change.mean, "se": change.se, "prompts": change.n},
    )
