"""Labels: which of two answers a person prefers, and the preference pairs in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

from custodes.conversation import Message, PreferencePair
from custodes.data.rows import answer_of, column_of, prompt_of, string_of
from custodes.data.tables import Row, Table, open_table
from custodes.errors import DataError, near_misses

__all__ = ["Choice", "Label", "are_labels", "labels_of", "preference_pairs", "read_labels"]

Choice = Literal["a", "b", "tie", "skip"]
_COLUMNS = ("item", "annotator", "choice")


@dataclass(frozen=True)
class Label:
    """What one annotator said about one item, once.

    Attributes:
        item: Id of the item.
        annotator: Name of the annotator.
        choice: The better answer, a or b as the input has them; or tie, or skip.
        left: The answer that was shown on the left (or first), a or b.
        prompt: The conversation.
        chosen: The better answer's text; None for a tie and for a skipped item.
        rejected: The other answer's text; None likewise.
        repeat: Whether the annotator had seen the item before, with the sides swapped.
        order: Number of this answer among the annotator's, from 1.
        seconds: Time from the showing of the item to the answer.
        time: Date and time of the answer, ISO 8601 with UTC.
        seed: The seed that drew the order of the items and the sides.
    """

    item: str
    annotator: str
    choice: Choice
    left: Literal["a", "b"]
    prompt: tuple[Message, ...]
    chosen: str | None = None
    rejected: str | None = None
    repeat: bool = False
    order: int = 1
    seconds: float = 0.0
    time: str = ""
    seed: int = 0

    def to_row(self) -> dict[str, Any]:
        """Return it as a row of a file; `labels_of` reads it back."""
        single = len(self.prompt) == 1 and self.prompt[0]["role"] == "user"
        return {
            "prompt": self.prompt[0]["content"] if single else list(self.prompt),
            "chosen": self.chosen,
            "rejected": self.rejected,
            "tie": self.choice == "tie",
            "item": self.item,
            "annotator": self.annotator,
            "choice": self.choice,
            "left": self.left,
            "repeat": self.repeat,
            "order": self.order,
            "seconds": self.seconds,
            "time": self.time,
            "seed": self.seed,
        }


def read_labels(sources: Iterable[str | Path]) -> list[Label]:
    """Read the labels of one or several files.

    Raises:
        DataError: A file is missing or malformed, or the same label is in it twice.
    """
    labels: dict[tuple[str, str, bool], Label] = {}
    for source in sources:
        table = open_table(source)
        for label in labels_of(table):
            key = (label.annotator, label.item, label.repeat)
            if key in labels:
                raise DataError(
                    f"{table.name} has a second answer of {label.annotator!r} to item "
                    f"{label.item!r}",
                    "name each file once, and give annotators different names",
                )
            labels[key] = label
    return list(labels.values())


def are_labels(table: Table) -> tuple[Table, bool]:
    """Say whether a table's rows are labels, and return the table unread."""
    first = next(table.rows, None)
    rows = chain([] if first is None else [first], table.rows)
    labels = first is not None and all(column in first.values for column in _COLUMNS)
    return replace(table, rows=rows), labels


def labels_of(table: Table) -> list[Label]:
    """Read the labels of an open table."""
    return [_label(row) for row in table.rows]


def _label(row: Row) -> Label:
    item, annotator, choice = (string_of(row, column_of(row, [name])) for name in _COLUMNS)
    if choice not in get_args(Choice):
        raise DataError(f"{row.where}: choice {choice!r}", near_misses(choice, get_args(Choice)))
    left = row.values.get("left", "a")
    if left not in ("a", "b"):
        raise DataError(f"{row.where}: left is {left!r}", "it is a or b")
    chosen = rejected = None
    if choice in ("a", "b"):
        chosen, rejected = (answer_of(row, name)[1] for name in ("chosen", "rejected"))
    numbers = {}
    for name, kind in (("order", int), ("seconds", float), ("seed", int)):
        value = row.values.get(name, 0)
        try:
            numbers[name] = kind(value)
        except (TypeError, ValueError) as error:
            raise DataError(f"{row.where}: {name} is {value!r}", "it is a number") from error
    return Label(
        item=item,
        annotator=annotator,
        choice=choice,  # type: ignore[arg-type]
        left=left,
        prompt=prompt_of(row),
        chosen=chosen,
        rejected=rejected,
        repeat=row.values.get("repeat", False) in (True, "True", "true"),
        order=int(numbers["order"]),
        seconds=numbers["seconds"],
        time=str(row.values.get("time", "")),
        seed=int(numbers["seed"]),
    )


def preference_pairs(labels: Sequence[Label]) -> list[PreferencePair]:
    """Return a pair for each item that most annotators decided alike.

    Ties count as votes for neither answer. Skipped items and repeats do not count. Items with as
    many votes for one answer as for the other give no pair.

    Raises:
        DataError: Two labels of one item are about different answers.
    """
    by_item: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        if label.choice != "skip" and not label.repeat:
            by_item[label.item].append(label)
    pairs = []
    for item, votes in by_item.items():
        decided = [label for label in votes if label.choice != "tie"]
        if len({frozenset((label.chosen, label.rejected)) for label in decided}) > 1:
            raise DataError(
                f"item {item!r} stands for different answers in these labels",
                "read labels of different data apart",
            )
        for choice in ("a", "b"):
            own = [label for label in decided if label.choice == choice]
            if len(own) > len(decided) - len(own):
                assert own[0].chosen is not None
                assert own[0].rejected is not None
                agreement = len(own) / len(votes)
                pairs.append(
                    PreferencePair(item, own[0].prompt, own[0].chosen, own[0].rejected, agreement)
                )
    return pairs
