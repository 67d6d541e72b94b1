"""Each annotator: how much they labelled, whether they repeat themselves, and whether a side wins.

Some items are shown twice, the second time with the sides swapped. Somebody who always presses the
left key then contradicts every answer of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from custodes.control import Control, ordered
from custodes.data.labels import Label
from custodes.labels.agreement import Agreement, agreement

__all__ = ["Annotator", "LabelSummary", "annotator_summary", "summary"]

LEAST_REPEATS = 5
"""With fewer decided repeats, consistency is not tested (5 of 5 have p = .03)."""
ENOUGH_REPEATS = 30
"""So many repeats show a consistency of 80% with 97% power at one-sided .05."""
LEAST_SIDES = 8
"""With fewer decided answers, a preference for a side is not tested (8 of 8 have p = .008)."""
SIDE_LEVEL = 0.01


@dataclass(frozen=True)
class Annotator:
    """One annotator's labels in figures.

    Attributes:
        name: The annotator.
        labels: Answers other than skip, repeats among them.
        ties: Ties among them.
        skipped: Skipped items.
        left: Share of the left answer among the decided ones, without repeats; None without any.
        consistent: Share of the repeated items, decided both times, with the same answer; None
            without any.
        repeats: Number of such items.
        seconds: Median time of an answer; None without any.
        controls: Whether the answers are consistent, and whether no side is preferred.
    """

    name: str
    labels: int
    ties: int
    skipped: int
    left: float | None
    consistent: float | None
    repeats: int
    seconds: float | None
    controls: tuple[Control, ...]


@dataclass(frozen=True)
class LabelSummary:
    """What was labelled, and what that is worth.

    Attributes:
        annotators: One for each annotator.
        agreement: Agreement between them.
        items: Items with an answer.
    """

    annotators: tuple[Annotator, ...]
    agreement: Agreement
    items: int

    @property
    def controls(self) -> list[Control]:
        """All controls, failed ones first."""
        own = [control for annotator in self.annotators for control in annotator.controls]
        return ordered([self.agreement.control, *own])

    def to_dict(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        figures = asdict(self.agreement)
        del figures["control"]
        rows = []
        for annotator in self.annotators:
            row = asdict(annotator)
            del row["controls"]
            rows.append(row)
        return {
            "items": self.items,
            "annotators": rows,
            "agreement": figures,
            "controls": [control.to_dict() for control in self.controls],
        }


def summary(labels: Sequence[Label], *, seed: int = 0) -> LabelSummary:
    """Summarise labels of any number of annotators.

    Args:
        labels: The labels.
        seed: Draws the bootstrap samples and the permutations.
    """
    names = dict.fromkeys(label.annotator for label in labels)
    own = [annotator_summary([x for x in labels if x.annotator == name]) for name in names]
    items = {label.item for label in labels if label.choice != "skip"}
    return LabelSummary(tuple(own), agreement(labels, seed=seed), len(items))


def annotator_summary(labels: Sequence[Label]) -> Annotator:
    """Summarise the labels of one annotator, at least one."""
    name = labels[0].annotator
    answers = [label for label in labels if label.choice != "skip"]
    decided = [label for label in answers if label.choice != "tie"]
    # The sides of a repeat are no draw: they are those of the first time, swapped.
    first = [label for label in decided if not label.repeat]
    lefts = sum(label.choice == label.left for label in first)
    same, repeats = _repeats(decided)
    return Annotator(
        name=name,
        labels=len(answers),
        ties=len(answers) - len(decided),
        skipped=len(labels) - len(answers),
        left=lefts / len(first) if first else None,
        consistent=same / repeats if repeats else None,
        repeats=repeats,
        seconds=float(np.median([label.seconds for label in answers])) if answers else None,
        controls=(
            _consistency(same, repeats).about(name),
            _sides(lefts, len(first)).about(name),
        ),
    )


def _repeats(decided: Sequence[Label]) -> tuple[int, int]:
    first = {label.item: label for label in decided if not label.repeat}
    again = [label for label in decided if label.repeat and label.item in first]
    return sum(label.choice == first[label.item].choice for label in again), len(again)


def _consistency(same: int, repeats: int) -> Control:
    from scipy.stats import binom

    name = "repeated items get the same answer"
    if repeats < LEAST_REPEATS:
        return Control.not_tested(
            name, f"{repeats} items were decided twice; it takes {LEAST_REPEATS}"
        )
    # Whoever answers without reading gives the same answer at most every second time.
    p = float(binom.sf(same - 1, repeats, 0.5))
    figures = {"same": same, "repeats": repeats, "p": p}
    explanation = f"{same} of {repeats} repeats, sides swapped, got the same answer (chance: half)"
    if p < 0.05:
        return Control(name, True, explanation, figures)
    if same / repeats <= 0.5 or repeats >= ENOUGH_REPEATS:
        return Control(name, False, explanation, figures)
    return Control(name, None, f"{explanation}; too few repeats to tell", figures)


def _sides(lefts: int, decided: int) -> Control:
    from scipy.stats import binomtest

    name = "no side is preferred"
    if decided < LEAST_SIDES:
        return Control.not_tested(name, f"{decided} decided answers; it takes {LEAST_SIDES}")
    p = float(binomtest(lefts, decided, 0.5).pvalue)
    explanation = (
        f"the left answer won {lefts} of {decided} times (sides are drawn, so half is expected; "
        f"p = {p:.2g})"
    )
    figures = {"left": lefts, "decided": decided, "p": p}
    return Control(name, p >= SIDE_LEVEL, explanation, figures)
