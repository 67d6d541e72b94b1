"""Did the training do what it was for? Controls that hold a retrain against the gold score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from custodes.control import Control
from custodes.oversight.events import CheckpointEvent, GoldEvent
from custodes.oversight.gold.score import GoldMeasurement, gold_change
from custodes.oversight.log import History
from custodes.statistics import PairedChange, paired_change

__all__ = ["sham_controls", "teaching_controls"]

ALPHA = 0.005
"""One-sided error rate of calling a fall of the gold score real. Small: a run has several."""


LARGE = 0.3
"""The rise in logits that a first retrain must show, where it could have been detected."""
MOST_SAME = 0.9
"""Share of the gold answers that a retrain may leave the same, word for word."""
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
    domains: set[str] = set()
    for retrain in retrains(history):
        yield _follows(retrain, first=retrain.domain not in domains)
        domains.add(retrain.domain)
        yield _answers_change(retrain)
    yield from _holds(history)
    yield from _reproduced(history)


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


def _follows(retrain: Retrain, first: bool) -> Control:
    """Check that the gold score of the taught domain rose.

    Args:
        retrain: The retrain.
        first: Whether it is the first in its domain. Later ones may have nothing left to gain; to
            them only a fall is held against.
    """
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
    if first and change.detectable <= LARGE:
        text += f"; a rise of {change.detectable:.2f} would have been detected with 80% power"
        return Control(name, False, f"{text}: the training did not do what it was for", figures)
    return Control(
        name,
        None,
        f"{text}: neither a rise nor a fall is detected; a rise of {change.detectable:.2f} would "
        "have been, with 80% power",
        figures,
    )


def _answers_change(retrain: Retrain) -> Control:
    """Check that the retrained Worker does not repeat its earlier answers, as a cache would."""
    same = total = 0
    for domain, after in retrain.after.domains.items():
        before = retrain.before.domains[domain]
        earlier = dict(zip(before.ids, before.texts, strict=True))
        same += sum(earlier[i] == text for i, text in zip(after.ids, after.texts, strict=True))
        total += len(after.ids)
    return Control(
        f"answers change with the weights: checkpoint {retrain.event.checkpoint}",
        same <= MOST_SAME * total,
        f"{same} of {total} answers behind the gold score are those of the checkpoint before, word "
        f"for word (at most {MOST_SAME:.0%} may be)",
        {"same": same, "answers": total},
    )


def _reproduced(history: History) -> Iterator[Control]:
    """Compare the reported changes of the gold score with a second computation."""
    first = history.golds[0].domains if history.golds else {}
    for event in history.golds[1:]:
        for domain, after in event.domains.items():
            reported = gold_change(first[domain], after).change
            second = change_between(first[domain], after)
            # The normal interval of the mean; a bootstrap's width is within a third of it.
            width = 2 * 1.96 * second.se
            ratio = (reported.high - reported.low) / width if width else 1.0
            yield Control(
                f"gold figures are reproduced: checkpoint {event.checkpoint}, {domain}",
                abs(reported.mean - second.mean) < 1e-6 and 0.67 <= ratio <= 1.5,
                f"the change is reported as {reported.mean:+.3f} and computed again as "
                f"{second.mean:+.3f}; the interval is {ratio:.2f} times as wide as by the standard "
                "error (must be 0.67 to 1.5 times)",
                {"reported": reported.mean, "recomputed": second.mean, "width": ratio},
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
