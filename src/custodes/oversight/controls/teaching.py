"""Did the training do what it was for? Controls that hold a retrain against the gold score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from custodes.control import Control
from custodes.oversight.events import CheckpointEvent, GoldEvent
from custodes.oversight.gold import GoldMeasurement
from custodes.oversight.log import History
from custodes.statistics import PairedChange, paired_change

__all__ = ["sham_controls", "teaching_controls"]

ALPHA = 0.005
"""One-sided error rate of calling a fall of the gold score real. Small: a run has several."""


WORTHWHILE = 0.2
"""A sham run that could have shown a difference of so many logits, and did not, is evidence."""


@dataclass(frozen=True)
class Retrain:
    """A retrain between two measurements of the gold score.

    Attributes:
        event: Its checkpoint.
        domain: What it was for.
        before: Gold measurements before it, by domain.
        after: Those of its checkpoint.
    """

    event: CheckpointEvent
    domain: str
    before: GoldEvent
    after: GoldEvent


def teaching_controls(history: History) -> Iterator[Control]:
    """Check each retrain, and the whole run, by the gold score."""
    for retrain in retrains(history):
        yield _follows(retrain)
    yield from _holds(history)


def retrains(history: History) -> Iterator[Retrain]:
    """Yield the Teacher's retrains that have a gold score before and after."""
    golds = {event.checkpoint: event for event in history.golds}
    for event in history.retrains:
        kind, _, domain = event.intervention.partition(":")
        before = golds.get(event.checkpoint - 1)
        after = golds.get(event.checkpoint)
        if kind == "teacher" and before is not None and after is not None:
            yield Retrain(event, domain, before, after)


def change_between(before: GoldMeasurement, after: GoldMeasurement) -> PairedChange:
    """Return the change of the gold score, paired by prompt and not by position."""
    first = dict(zip(before.ids, before.scores, strict=True))
    pairs = [(first[i], score) for i, score in zip(after.ids, after.scores, strict=True)]
    return paired_change([a for a, _ in pairs], [b for _, b in pairs])


def _follows(retrain: Retrain) -> Control:
    """Check that the gold score of the taught domain rose, or at least did not fall."""
    name = (
        f"gold score follows the Teacher: checkpoint {retrain.event.checkpoint} ({retrain.domain})"
    )
    if retrain.domain not in retrain.after.domains:
        return Control.not_tested(name, f"{retrain.domain} has no gold score")
    change = change_between(
        retrain.before.domains[retrain.domain], retrain.after.domains[retrain.domain]
    )
    figures = {"change": change.mean, "se": change.se, "prompts": change.n}
    text = f"the gold score of {retrain.domain} changed by {change.mean:+.2f} (SE {change.se:.2f})"
    if change.p_fall <= ALPHA:
        return Control(name, False, f"{text}: it fell (one-sided p = {change.p_fall:.1g})", figures)
    if change.p_rise <= 0.05:
        return Control(name, True, f"{text}: it rose (one-sided p = {change.p_rise:.1g})", figures)
    return Control(
        name,
        None,
        f"{text}: neither a rise nor a fall is detected; a rise of {change.detectable:.2f} would "
        "have been, with 80% power",
        figures,
    )


def _holds(history: History) -> Iterator[Control]:
    """Check that no domain lost more over the run than another one gained."""
    if len(history.golds) < 2:
        return
    first, last = history.golds[0].domains, history.golds[-1].domains
    changes = {d: change_between(first[d], last[d]) for d in last if d in first}
    rise = max((change.mean for change in changes.values()), default=0.0)
    for domain, change in changes.items():
        fell = change.p_fall <= ALPHA
        net = fell and -change.mean > max(rise, 0.0)
        text = f"over the run the gold score of {domain} changed by {change.mean:+.2f}"
        if fell and not net:
            text += f", less than another domain's rise of {rise:+.2f}: the price of that training"
        if net:
            text += f" and no domain rose by as much (one-sided p = {change.p_fall:.1g})"
        yield Control(
            f"gold score holds: {domain}",
            not net,
            text,
            {"change": change.mean, "se": change.se, "largest_rise": rise},
        )


def sham_controls(history: History, sham: History | None) -> Iterator[Control]:
    """Compare each taught domain's gold score with that of the sham run.

    In the sham run the Teacher trains as much, on the same answers, but chance decides which of two
    is the better. What the run has beyond it is due to the ratings.
    """
    if sham is None or not sham.golds or len(history.golds) < 2:
        return
    ours, theirs = history.golds[-1].domains, sham.golds[-1].domains
    for domain in dict.fromkeys(retrain.domain for retrain in retrains(history)):
        name = f"training beats a sham: {domain}"
        if len(sham.golds) < 2:
            yield Control.not_tested(name, "the sham run was never retrained")
            continue
        change = change_between(theirs[domain], ours[domain])
        text = (
            f"after the last retrain the gold score of {domain} is {change.mean:+.2f} "
            f"(SE {change.se:.2f}) above that of the same run with pairs in random order"
        )
        figures = {"difference": change.mean, "se": change.se, "prompts": change.n}
        if change.p_rise <= 0.05:
            yield Control(name, True, text, figures)
        elif change.p_fall <= ALPHA or change.detectable <= WORTHWHILE:
            yield Control(name, False, f"{text}: the ratings taught nothing", figures)
        else:
            text += f"; a difference of {change.detectable:.2f} is detected with 80% power"
            yield Control(name, None, text, figures)
