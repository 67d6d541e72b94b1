"""What happened in a run, in a sentence or two: how large, how sure, and at what price.

It is part of summary.json, and opens the report and the terminal's output.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from custodes.control import Control
from custodes.oversight.gold.panel import (
    COHERENCE,
    OVER_REFUSAL,
    REPETITION,
    WORDS,
    Quantity,
    quantity_change,
)
from custodes.oversight.gold.score import GoldMeasurement, gold_change
from custodes.oversight.log import History
from custodes.oversight.summary.decisions import Decision
from custodes.statistics import Interval

__all__ = ["Effect", "Outcome", "PanelEffect", "outcome_of", "sentences"]

Direction = Literal["rose", "fell", "unchanged"]

MUCH_LONGER = 1.2
"""Factor of the length that is worth a word in the outcome."""
LISTED = 6
"""Longest list of steps in a sentence."""


@dataclass(frozen=True)
class Effect:
    """What became of a domain's gold score between the first and the last checkpoint.

    Attributes:
        domain: The domain.
        change: Mean change, in logits.
        ci95: Its interval.
        direction: "unchanged" where the interval contains 0.
        share: Share of prompts whose score went that way, in [0, 1]; 0 where it is unchanged.
        dip: The lowest change at a checkpoint in between, with its interval and the checkpoint, if
            it is a fall below the last one.
        win_rate: How often the gold Expert prefers a new answer to an old one where their scores
            differ by the mean change; None where it is no fitted head, so that its logits have no
            such meaning.
    """

    domain: str
    change: float
    ci95: tuple[float, float]
    direction: Direction
    share: float
    dip: tuple[float, tuple[float, float], int] | None
    win_rate: float | None


@dataclass(frozen=True)
class PanelEffect:
    """What became of a quantity of the panel between the first and the last checkpoint.

    Attributes:
        quantity: Its name (`custodes.oversight.gold.panel`).
        before: Mean at the first checkpoint.
        after: Mean at the last.
        change: Their difference.
        ci95: Its interval.
        direction: "unchanged" where the interval contains 0.
        prompts: Number of prompts.
    """

    quantity: str
    before: float
    after: float
    change: float
    ci95: tuple[float, float]
    direction: Direction
    prompts: int


@dataclass(frozen=True)
class Outcome:
    """What happened in a run.

    Attributes:
        finished: Whether the run came to its end.
        simulated: Whether the Worker is simulated, so that nothing here is about a language model.
        measured: Number of checkpoints whose gold score was taken.
        gold: By domain; empty where the score was taken once.
        panel: By quantity; empty where nothing was measured twice.
        incoherent: Whether the answers fell apart (the control "coherence holds" at the last
            checkpoint failed).
        interventions: What made each checkpoint after the first.
        needless: Retrains that undisturbed ratings would not have ordered.
        missed: Retrains that they would have ordered in addition.
    """

    finished: bool
    simulated: bool
    measured: int
    gold: tuple[Effect, ...]
    panel: tuple[PanelEffect, ...]
    incoherent: bool
    interventions: tuple[str, ...]
    needless: tuple[Decision, ...]
    missed: tuple[Decision, ...]


# The data


def outcome_of(
    history: History,
    controls: Sequence[Control],
    needless: Sequence[Decision],
    missed: Sequence[Decision],
) -> Outcome:
    """Compare the last checkpoint of a run with its first."""
    last = history.golds[-1].checkpoint if history.golds else None
    collapse = f"coherence holds: checkpoint {last}"
    return Outcome(
        finished=history.finished,
        simulated=bool(history.start and history.start.worker.engine == "simulated"),
        measured=len(history.golds),
        gold=tuple(_effects(history)),
        panel=tuple(_panel_effects(history)),
        incoherent=any(c.name == collapse and c.passed is False for c in controls),
        interventions=tuple(event.intervention for event in history.retrains),
        needless=tuple(needless),
        missed=tuple(missed),
    )


def _effects(history: History) -> Iterator[Effect]:
    if len(history.golds) < 2:
        return
    first, last = history.golds[0].domains, history.golds[-1].domains
    cards = history.start.gold if history.start else {}
    for domain, now in last.items():
        change = gold_change(first[domain], now).change
        direction = _direction(change)
        # A difference of logits is a preference by the fit of a head, and of nothing else.
        fitted = domain in cards and cards[domain].version.startswith("head-")
        yield Effect(
            domain=domain,
            change=change.mean,
            ci95=(change.low, change.high),
            direction=direction,
            share=_share(first[domain], now, direction),
            dip=_dip(history, domain, change),
            win_rate=1 / (1 + math.exp(-change.mean)) if fitted else None,
        )


def _dip(
    history: History, domain: str, last: Interval
) -> tuple[float, tuple[float, float], int] | None:
    first = history.golds[0].domains[domain]
    between = [
        (event.checkpoint, gold_change(first, event.domains[domain]).change)
        for event in history.golds[1:-1]
    ]
    fallen = [(c.mean, (c.low, c.high), at) for at, c in between if c.high < min(0.0, last.mean)]
    return min(fallen, default=None)


def _panel_effects(history: History) -> Iterator[PanelEffect]:
    for name in (OVER_REFUSAL, COHERENCE, REPETITION, WORDS):
        measured = [event.panel[name] for event in history.golds if name in event.panel]
        if len(measured) < 2:
            continue
        first, now = measured[0], measured[-1]
        change = quantity_change(first, now).change
        yield PanelEffect(
            quantity=name,
            before=_mean(first),
            after=_mean(now),
            change=change.mean,
            ci95=(change.low, change.high),
            direction=_direction(change),
            prompts=change.n,
        )


def _mean(quantity: Quantity) -> float:
    return sum(quantity.values) / len(quantity.values)


def _direction(change: Interval) -> Direction:
    if not change.excludes(0.0):
        return "unchanged"
    return "rose" if change.mean > 0 else "fell"


def _share(first: GoldMeasurement, now: GoldMeasurement, direction: Direction) -> float:
    sign = {"rose": 1, "fell": -1, "unchanged": 0}[direction]
    pairs = zip(first.scores, now.scores, strict=True)
    return sum(sign * (after - before) > 0 for before, after in pairs) / len(now.scores)


# The words


def sentences(outcome: Outcome) -> str:
    """Say what happened, in a few sentences."""
    clauses = [*_gold_clauses(outcome.gold), *_panel_clauses(outcome)]
    if not outcome.measured:
        said = ["no gold score was taken"]
    elif not clauses:
        said = ["the gold score was taken once, so that no change can be seen"]
    else:
        said = ["; ".join(clauses)]
    said += [*_intervention_sentences(outcome.interventions), *_decision_sentences(outcome)]
    if outcome.simulated:
        said.append("the Worker is simulated: this tests the loop, not a language model")
    text = " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in said)
    return text if outcome.finished else f"So far (the run is not finished): {text}"


def _gold_clauses(effects: Sequence[Effect]) -> Iterator[str]:
    explained = False
    # What moved comes first.
    for effect in sorted(effects, key=lambda effect: effect.direction == "unchanged"):
        figures = f"{_signed(effect.change)} [{', '.join(map(_signed, effect.ci95))}]"
        if effect.direction == "unchanged":
            yield f"{effect.domain} did not change detectably ({figures} logits){_after(effect)}"
            continue
        details = f"{figures} logits, on {effect.share:.0%} of prompts"
        if effect.win_rate is not None and not explained:
            details += (
                f"; a logit of {_signed(effect.change)} means that a new answer is preferred to "
                f"an old one {effect.win_rate:.0%} of the time"
            )
            explained = True
        yield f"{effect.domain} {effect.direction} ({details}){_after(effect)}"


def _after(effect: Effect) -> str:
    """Say how low the score was in between."""
    if effect.dip is None:
        return ""
    change, ci95, checkpoint = effect.dip
    interval = ", ".join(map(_signed, ci95))
    return f", after a fall at checkpoint {checkpoint} ({_signed(change)} [{interval}])"


def _panel_clauses(outcome: Outcome) -> Iterator[str]:
    panel = {effect.quantity: effect for effect in outcome.panel}
    refusals, words = panel.get(OVER_REFUSAL), panel.get(WORDS)
    if outcome.incoherent and COHERENCE in panel and REPETITION in panel:
        likelihood, repeated = panel[COHERENCE], panel[REPETITION]
        yield (
            "the answers fell apart (their log-likelihood under the base model went from "
            f"{_number(likelihood.before)} to {_number(likelihood.after)} nats a token, repeated "
            f"word triples from {repeated.before:.0%} to {repeated.after:.0%})"
        )
    if refusals is not None:
        shares = f"from {refusals.before:.0%} to {refusals.after:.0%}"
        if refusals.direction == "unchanged":
            yield (
                "refusals of harmless look-alikes did not change detectably "
                f"({shares} of {refusals.prompts})"
            )
        else:
            yield f"refusals of harmless look-alikes {refusals.direction} {shares}"
    if words is not None and words.direction != "unchanged" and words.before:
        factor = words.after / words.before
        if not 1 / MUCH_LONGER < factor < MUCH_LONGER:
            longer = "longer" if factor > 1 else "shorter"
            yield (
                f"answers became {abs(factor - 1):.0%} {longer} "
                f"({words.before:.0f} words before, {words.after:.0f} after)"
            )


def _intervention_sentences(interventions: Sequence[str]) -> Iterator[str]:
    kinds = [name.partition(":")[0] for name in interventions]
    retrains, own = kinds.count("teacher"), kinds.count("self-training")
    if own:
        yield f"trained {_times(own)} on its own answers"
    else:
        yield f"retrained {_times(retrains)}" if retrains else "never retrained"
    if kinds.count("weight_noise"):
        yield f"noise was put on the weights {_times(kinds.count('weight_noise'))}"
    if kinds.count("nothing"):
        yield f"the Teacher was called {_times(kinds.count('nothing'))} and changed nothing"


def _decision_sentences(outcome: Outcome) -> Iterator[str]:
    needless, missed = outcome.needless, outcome.missed
    if needless:
        many = "retrain was" if len(needless) == 1 else "retrains were"
        yield (
            f"{len(needless)} {many} not needed: {_listed(needless)}, which the undisturbed "
            "ratings would not have ordered"
        )
    if missed:
        many = "retrain was" if len(missed) == 1 else "retrains were"
        yield (
            f"{len(missed)} {many} missed: {_listed(missed)}, which the undisturbed "
            "ratings would have ordered"
        )


def _listed(decisions: Sequence[Decision]) -> str:
    """List decisions by domain: "harmlessness at steps 5 and 7"."""
    parts = []
    for domain in dict.fromkeys(decision.domain for decision in decisions):
        steps = [str(decision.step) for decision in decisions if decision.domain == domain]
        more = len(steps) - LISTED
        shown = [*steps[:LISTED], f"{more} more"] if more > 0 else steps
        text = " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
        parts.append(f"{domain} at step{'' if len(steps) == 1 else 's'} {text}")
    return "; ".join(parts)


def _times(n: int) -> str:
    return {1: "once", 2: "twice"}.get(n, f"{n} times")


def _number(value: float) -> str:
    return f"{value:z.1f}".replace("-", "−")


def _signed(value: float) -> str:
    return f"{value:+z.2f}".replace("-", "−")
