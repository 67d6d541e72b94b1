"""Controls: for every result of a run, what would have exposed it if it were wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from custodes.experts.expert import Rating
from custodes.oversight.gold import gold_change
from custodes.oversight.overseer import OverseerOptions, ThresholdOverseer
from custodes.runs.events import Event

__all__ = ["Control", "run_controls"]

LEAST_MOVE = 1e-5
LEAST_AGREEMENT = 0.5
MOST_ABSTENTIONS = 0.5


@dataclass(frozen=True)
class Control:
    """One check that could have failed.

    Attributes:
        name: What is guarded.
        ok: Whether it held.
        says: One sentence with the figures.
    """

    name: str
    ok: bool
    says: str


def run_controls(
    events: Sequence[Event],
    overseer: OverseerOptions,
    null_events: Sequence[Event] | None = None,
) -> list[dict[str, Any]]:
    """Check a run by its log.

    Args:
        events: The run's events.
        overseer: The options the run's Overseer had.
        null_events: The events of its null run, if there was one.

    Returns:
        The controls, those that failed first, JSON-ready.
    """
    found = [
        *_checkpoints(events),
        *_experts(events),
        *_abstentions(events),
        *_perturbations(events),
        *_gold(events),
        *_verdicts(events, overseer),
        *(_null_run(events, null_events) if null_events is not None else ()),
    ]
    return [asdict(control) for control in sorted(found, key=lambda control: control.ok)]


def _of(events: Sequence[Event], kind: str) -> list[Event]:
    return [event for event in events if event["kind"] == kind]


def _checkpoints(events: Sequence[Event]) -> Iterator[Control]:
    for event in _of(events, "checkpoint"):
        which = f"checkpoint {event['checkpoint']} ({event['intervention']})"
        if event["parent"] is not None:
            moved = event["metrics"].get("weights_moved", 0.0)
            yield Control(
                f"weights moved: {which}",
                math.isfinite(moved) and moved > LEAST_MOVE,
                f"the relative norm of the change is {moved:.2g} (must exceed {LEAST_MOVE:g})",
            )
        if event.get("served"):
            yield _served(which, event["served"])
        for control in event["metrics"].get("controls", ()):
            yield Control(f"{control['name']}: {which}", control["ok"], control["says"])


def _served(which: str, served: Mapping[str, Any]) -> Control:
    agreement, contrast = served["agreement"], served["contrast"]
    says = (
        f"greedy text of the {served['engine']} engine agrees with torch's on {agreement:.0%} of "
        f"its length (must reach {LEAST_AGREEMENT:.0%})"
    )
    if contrast is not None:
        says += (
            f", and is {contrast:+.3f} nats a token likelier under the new weights than under the "
            "old (must be positive)"
        )
    ok = agreement >= LEAST_AGREEMENT and (contrast is None or contrast > 0)
    return Control(f"weights served: {which}", ok, says)


def _experts(events: Sequence[Event]) -> Iterator[Control]:
    for event in [*_of(events, "start"), *_of(events, "probe")]:
        for expert in event["experts"]:
            for control in expert["report"].get("controls", ()):
                name = f"{control['name']}: {expert['name']}"
                yield Control(name, control["ok"], control["says"])


def _abstentions(events: Sequence[Event]) -> Iterator[Control]:
    asked: dict[str, int] = {}
    silent: dict[str, int] = {}
    for event in _of(events, "step"):
        for domain, given in event["ratings"].items():
            asked[domain] = asked.get(domain, 0) + len(given["values"])
            silent[domain] = silent.get(domain, 0) + given["values"].count(None)
    for domain, n in asked.items():
        if n:
            share = silent[domain] / n
            yield Control(
                f"Expert speaks: {domain}",
                share <= MOST_ABSTENTIONS,
                f"{silent[domain]} of {n} ratings are abstentions "
                f"(at most {MOST_ABSTENTIONS:.0%} may be)",
            )


def _perturbations(events: Sequence[Event]) -> Iterator[Control]:
    changed: dict[str, float] = {}
    for event in events:
        for name, share in event.get("perturbed", {}).items():
            changed[name] = max(changed.get(name, 0.0), share)
    for name, share in changed.items():
        yield Control(
            f"perturbation took effect: {name}",
            share > 0,
            f"it changed {share:.0%} of what it was shown at its strongest step",
        )


def _gold(events: Sequence[Event]) -> Iterator[Control]:
    for event in _of(events, "start"):
        for domain, gold in event["gold"].items():
            ok = gold["shared_prompts"] == 0 and not gold["expert_in_loop"]
            yield Control(
                f"gold unseen: {domain}",
                ok,
                f"{gold['shared_prompts']} of its {gold['prompts']} prompts are also in the loop; "
                f"its Expert ({gold['expert']}) is {'' if gold['expert_in_loop'] else 'not '}"
                "one of the loop's",
            )


def _verdicts(events: Sequence[Event], options: OverseerOptions) -> Iterator[Control]:
    overseer = ThresholdOverseer(options)
    logged = {event["step"]: event for event in _of(events, "verdict")}
    wrong = 0
    for event in _of(events, "step")[: len(logged)]:
        ratings = {
            domain: [Rating(value) for value in given["values"]]
            for domain, given in event["ratings"].items()
        }
        verdict = overseer.review(event["step"], ratings, event["checkpoint"])
        told = {key: logged[event["step"]][key] for key in ("intercept", "retrain", "evidence")}
        wrong += asdict(verdict) != told
    yield Control(
        "verdicts follow from the ratings",
        wrong == 0,
        f"{len(logged) - wrong} of {len(logged)} logged verdicts are what the Overseer "
        "decides when it is shown the logged ratings again",
    )


def _null_run(events: Sequence[Event], null: Sequence[Event]) -> Iterator[Control]:
    asked = [[q["id"] for q in event["queries"]] for event in _of(events, "step")]
    same = asked == [[q["id"] for q in event["queries"]] for event in _of(null, "step")]
    yield Control(
        "null run asks the same",
        same,
        "the run whose Teacher does nothing was asked "
        + ("the same queries" if same else "other queries, so the two cannot be compared"),
    )
    golds: list[Mapping[str, Any]] = [event["domains"] for event in _of(null, "gold")]
    for domain in golds[0] if len(golds) > 1 else ():
        change = gold_change(golds[0][domain], golds[-1][domain]).change
        yield Control(
            f"null run's gold stays: {domain}",
            not change.excludes(0.0),
            f"with a Teacher that does nothing the gold score changes by {change.mean:+.2f} "
            f"[{change.low:+.2f}, {change.high:+.2f}] (the interval must hold 0)",
        )
