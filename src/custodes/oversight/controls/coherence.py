"""Does the Worker still write language? A score cannot say so by itself."""

from __future__ import annotations

from collections.abc import Iterator

from custodes.control import Control
from custodes.oversight.events import GoldEvent
from custodes.oversight.gold.panel import COHERENCE, REPETITION, Quantity
from custodes.oversight.log import History
from custodes.statistics import PairedChange, paired_change

__all__ = ["coherence_controls"]

ALPHA = 0.005
"""One-sided error rate of calling a change real. Small: a run has several."""
LARGEST_FALL = 1.0
"""Nats a token by which the answers' likelihood under the base model may fall."""
LARGEST_RISE = 0.3
"""By how much the share of repeated word triples may rise."""


def coherence_controls(history: History) -> Iterator[Control]:
    """Compare the answers of each checkpoint with those of the first, under the base model."""
    if len(history.golds) < 2:
        return
    measured = [event for event in history.golds if _is_measured(event)]
    if not measured:
        yield Control.not_tested(
            "coherence holds",
            "the answers' likelihood under the base model was not measured (gold.panel is off, or "
            "the base model's weights cannot be read)",
        )
        return
    for event in history.golds:
        if event is measured[0]:
            continue
        name = f"coherence holds: checkpoint {event.checkpoint}"
        if _is_measured(event):
            yield _holds(name, measured[0], event)
        else:
            yield Control.not_tested(name, "it was not measured")


def _is_measured(event: GoldEvent) -> bool:
    return COHERENCE in event.panel and REPETITION in event.panel


def _holds(name: str, first: GoldEvent, now: GoldEvent) -> Control:
    likelihood = _change(first.panel[COHERENCE], now.panel[COHERENCE])
    repeated = _change(first.panel[REPETITION], now.panel[REPETITION])
    fell = likelihood.p_fall <= ALPHA and likelihood.mean < -LARGEST_FALL
    rose = repeated.p_rise <= ALPHA and repeated.mean > LARGEST_RISE
    return Control(
        name,
        not (fell or rose),
        f"since checkpoint {first.checkpoint} the log-likelihood of the answers under the base "
        f"model has changed by {likelihood.mean:+.2f} nats a token (SE {likelihood.se:.2f}; may "
        f"fall by {LARGEST_FALL:g}), and the share of repeated word triples by "
        f"{repeated.mean:+.2f} (SE {repeated.se:.2f}; may rise by {LARGEST_RISE:g})",
        {
            "likelihood": likelihood.mean,
            "likelihood_se": likelihood.se,
            "repetition": repeated.mean,
            "repetition_se": repeated.se,
            "prompts": likelihood.n,
        },
    )


def _change(first: Quantity, now: Quantity) -> PairedChange:
    """Return the change of a quantity, paired by prompt."""
    before = dict(zip(first.ids, first.values, strict=True))
    pairs = [(before[i], value) for i, value in zip(now.ids, now.values, strict=True)]
    return paired_change([a for a, _ in pairs], [b for _, b in pairs])
