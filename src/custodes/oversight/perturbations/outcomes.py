"""What each perturbation of a run did, and whether the loop recovered: one row for each.

The level before is that of the checkpoint that a perturbation met: ratings of older checkpoints
are another model's. Levels are measured on fixed probe prompts (`levels`); where a run has none,
the ratings of its steps are compared (`recovery`). What comes from the onset of the next
perturbation on is left out. A domain has
recovered when its ratings are back *and* its gold score is not below that of the checkpoint at the
onset: an Overseer sees the ratings alone, and they can come back without the model.

Perturbations that begin at one step cannot be told apart, and one that begins while another is
active is compared with a level that is disturbed already. Both are said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from custodes.oversight.events import PlannedPerturbation
from custodes.oversight.gold.score import gold_change
from custodes.oversight.log import History
from custodes.oversight.perturbations.levels import Level, recovery_of_levels, unchanged
from custodes.oversight.perturbations.recovery import Recovery, recovery
from custodes.statistics import Interval

__all__ = ["outcomes"]

WORST_FIRST = ("not_recovered", "recovered", "no_damage", "unknown")
NOISE = "weight_noise"


def outcomes(history: History) -> Iterator[dict[str, Any]]:
    """Yield one JSON-ready row for each planned perturbation.

    Yields:
        The plan's fields; ``domain`` and ``recovery`` of the domain that fared worst, whose
        explanation names the others; ``domains``, each with its ``recovery``, ``gold_change`` (in
        logits, from the checkpoint at the onset to the last one before the next perturbation; None
        where no weights changed) and ``gold_ci95``; ``overlaps``, the perturbations that it is not
        told apart from.
    """
    planned = history.start.perturbations if history.start else ()
    for perturbation in planned:
        others = [other for other in planned if other is not perturbation]
        found = dict(_by_domain(history, perturbation, others))
        if found:
            yield _row(perturbation, found, _overlaps(perturbation, others))


def _by_domain(
    history: History, perturbation: PlannedPerturbation, others: Sequence[PlannedPerturbation]
) -> Iterator[tuple[str, tuple[Recovery, Interval | None]]]:
    onset = perturbation.at
    end = min((other.at for other in others if other.at > onset), default=math.inf)
    checkpoint = _checkpoint_at(history, onset)
    served = {event.step: event.checkpoint for event in history.steps}
    # Noise is put on at one step, and lasts.
    offset = None if perturbation.kind == NOISE else perturbation.until
    for domain, ratings in _clean(history).items():
        comparable = {
            step: row
            for step, row in ratings.items()
            if (step < onset and served[step] == checkpoint) or onset <= step < end
        }
        change = _gold(history, domain, checkpoint, end)
        found = _on_probes(history, domain, checkpoint, onset, offset, end)
        found = found or recovery(comparable, onset, offset)
        yield domain, (_with_gold(found, change), change)


def _on_probes(
    history: History, domain: str, checkpoint: int, onset: int, offset: int | None, end: float
) -> Recovery | None:
    """Compare the levels on the probe prompts; None where there is none before."""
    levels = [event for event in history.levels if event.ratings.get(domain)]
    before = [e for e in levels if e.step < onset and e.checkpoint == checkpoint and not e.active]
    after = [Level(e.step, e.ratings[domain]) for e in levels if onset <= e.step < end]
    if not before:
        return None
    first = Level(before[-1].step, before[-1].ratings[domain])
    if not after:
        return unchanged(first)
    last = max(event.step for event in history.steps if event.step < end)
    return recovery_of_levels(first, after, onset, offset, last)


def _checkpoint_at(history: History, onset: int) -> int:
    """Return the checkpoint that a perturbation met: that before any noise of the same step."""
    for event in history.checkpoints:
        if event.intervention == NOISE and event.step == onset and event.parent is not None:
            return event.parent
    reached = [event.checkpoint for event in history.steps if event.step <= onset]
    return reached[-1] if reached else 0


def _clean(history: History) -> dict[str, dict[int, dict[str, float]]]:
    """By domain, step and prompt: the Experts' ratings before any perturbation."""
    clean: dict[str, dict[int, dict[str, float]]] = {}
    for event in history.steps:
        for domain, ratings in event.ratings.items():
            clean.setdefault(domain, {})[event.step] = {
                event.queries[i].id: rating.value
                for i, rating in zip(ratings.queries, ratings.clean, strict=True)
                if rating.value is not None
            }
    return clean


def _gold(history: History, domain: str, checkpoint: int, end: float) -> Interval | None:
    """Return the change of the gold score since the onset; None where no weights changed."""
    golds = [event for event in history.golds if domain in event.domains]
    before = [event for event in golds if event.checkpoint == checkpoint]
    after = [event for event in golds if event.checkpoint > checkpoint and event.step < end]
    if not before or not after:
        return None
    return gold_change(before[-1].domains[domain], after[-1].domains[domain]).change


def _with_gold(found: Recovery, change: Interval | None) -> Recovery:
    """Return an outcome that takes a gold score into account that is below where it was."""
    if change is None or change.high >= 0:
        return found
    by = f"{change.mean:+.2f} [{change.low:+.2f}, {change.high:+.2f}]".replace("-", "−")
    if found.outcome == "recovered":
        return replace(
            found,
            outcome="not_recovered",
            explanation=f"ratings recovered after {found.steps} steps, the gold score did not: "
            f"{by}",
        )
    return replace(found, explanation=f"{found.explanation}; the gold score fell: {by}")


def _overlaps(
    perturbation: PlannedPerturbation, others: Sequence[PlannedPerturbation]
) -> list[str]:
    onset = perturbation.at
    return [other.name for other in others if other.at <= onset < (other.until or math.inf)]


def _row(
    perturbation: PlannedPerturbation,
    found: Mapping[str, tuple[Recovery, Interval | None]],
    overlaps: list[str],
) -> dict[str, Any]:
    def badness(domain: str) -> tuple[int, float]:
        outcome = found[domain][0]
        lowest = math.inf if outcome.lowest is None else outcome.lowest
        return WORST_FIRST.index(outcome.outcome), lowest

    worst = min(found, key=badness)
    said = [f"{name}: {found[name][0].explanation}" for name in sorted(found, key=badness)]
    if len({outcome.explanation for outcome, _ in found.values()}) == 1:
        said = [found[worst][0].explanation]
    if overlaps:
        said.append(f"not told apart from {', '.join(overlaps)}")
    return {
        **asdict(perturbation),
        "domain": worst,
        "recovery": asdict(replace(found[worst][0], explanation="; ".join(said))),
        "domains": {
            domain: {
                "recovery": asdict(outcome),
                "gold_change": None if change is None else change.mean,
                "gold_ci95": None if change is None else [change.low, change.high],
            }
            for domain, (outcome, change) in found.items()
        },
        "overlaps": overlaps,
    }
