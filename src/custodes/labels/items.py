"""What annotators are shown: pairs of answers, their order, their sides, and the repeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from custodes.conversation import Message
from custodes.data.rows import PROMPT_COLUMNS, answer_of, item_id, prompt_of, read_items
from custodes.data.tables import Row, open_table
from custodes.errors import DataError
from custodes.seeds import derive
from custodes.text import one_line

__all__ = ["Item", "Showing", "left_side", "read_choices", "schedule"]

COLUMNS = (("response_a", "response_b"), ("chosen", "rejected"))
GAP = 10
"""A repeat follows this many other items at the earliest, so that nobody remembers the side."""


@dataclass(frozen=True)
class Item:
    """Two answers to one conversation.

    Attributes:
        id: The file's, else a hash of the content.
        prompt: The conversation; its last message is the user's.
        a: The first answer of the file (``response_a`` or ``chosen``); untrusted, as all of it.
        b: The second.
    """

    id: str
    prompt: tuple[Message, ...]
    a: str
    b: str


@dataclass(frozen=True)
class Showing:
    """An item, to be shown.

    Attributes:
        item: The item.
        repeat: Whether it was shown before, with the sides swapped.
    """

    item: Item
    repeat: bool

    @property
    def key(self) -> str:
        """Identifies the showing of an item to an annotator."""
        return f"{self.item.id}|{int(self.repeat)}"


def read_choices(source: str | Path) -> list[Item]:
    """Read the items to label.

    Args:
        source: JSONL, JSON, CSV or Parquet with ``prompt`` (text or messages) or ``messages``, and
            ``response_a`` and ``response_b``, or ``chosen`` and ``rejected``; or ``chosen`` and
            ``rejected`` alone, as whole conversations.

    Raises:
        DataError: The file is missing or malformed, lacks columns, or two answers are the same.
    """
    table = open_table(source)
    return read_items(table, lambda row: _item(row, table.stem))


def _item(row: Row, stem: str) -> Item:
    columns = next((names for names in COLUMNS if all(n in row.values for n in names)), None)
    if columns is None:
        raise _columns_missing(row)
    (before, a), (other, b) = (answer_of(row, name) for name in columns)
    if before != other:
        raise DataError(
            f"{row.where}: {columns[0]} and {columns[1]} answer different conversations",
            "give both the same turns before the last",
        )
    if not before and not any(name in row.values for name in (*PROMPT_COLUMNS, "messages")):
        raise _columns_missing(row)
    prompt = before or prompt_of(row)
    if a == b:
        raise DataError(
            f"{row.where}: {columns[0]} and {columns[1]} are the same", "remove the line"
        )
    return Item(item_id(row, stem, (prompt, a, b)), prompt, a, b)


def _columns_missing(row: Row) -> DataError:
    columns = ", ".join(one_line(str(name), 40) for name in list(row.values)[:20])
    return DataError(
        f"{row.where} has the columns {columns or 'none'}",
        "it needs prompt (or messages) with response_a and response_b, or with chosen and rejected",
    )


def schedule(items: Sequence[Item], *, seed: int, repeats: float) -> list[Showing]:
    """Put the items in an order, the same for all annotators, and repeat some of them.

    Args:
        items: The items.
        seed: Draws the order and the repeated items.
        repeats: Share of the items that are shown twice, in [0, 1].
    """
    rng = np.random.default_rng(derive(seed, "order"))
    order = [items[i] for i in rng.permutation(len(items))]
    # Spread evenly, so that whoever stops early has seen repeats, too.
    count = round(repeats * len(order))
    again = [int((k + rng.random()) * len(order) / count) for k in range(count)]
    showings = [(float(i), Showing(item, False)) for i, item in enumerate(order)]
    showings += [(i + GAP + 0.5, Showing(order[i], True)) for i in again]
    return [showing for _, showing in sorted(showings, key=lambda pair: pair[0])]


def left_side(item: Item, annotator: str, seed: int) -> Literal["a", "b"]:
    """Draw the answer that an annotator sees on the left the first time."""
    return "a" if derive(seed, "side", annotator, item.id) % 2 == 0 else "b"
