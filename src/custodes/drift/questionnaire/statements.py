"""Statements of a questionnaire: what ships with custodes, and files of the same form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from custodes.data.rows import item_id, read_items, string_of
from custodes.data.shipped import shipped_facts, shipped_statements
from custodes.data.tables import Row, open_table
from custodes.errors import DataError, near_misses
from custodes.seeds import derive

__all__ = ["Item", "Statement", "draw_items", "items_of", "read_facts", "read_statements"]

KEYS = {"agree": 1, "yes": 1, "disagree": -1, "no": -1}
BEHAVIOURS = ("behavior", "behaviour")
KEY = "answer_matching_behavior"
FEWEST_ITEMS = 8
"""With fewer, no interval says anything."""


@dataclass(frozen=True)
class Statement:
    """One statement.

    Attributes:
        id: Its name.
        behaviour: The behaviour that it is about.
        text: The statement itself.
        key: 1 if agreeing matches the behaviour, -1 if disagreeing does.
        pair: Name of the pair of a statement and its opposite, "" if it is in none.
    """

    id: str
    behaviour: str
    text: str
    key: int
    pair: str = ""


@dataclass(frozen=True)
class Item:
    """A statement, or a statement and its opposite: what counts as one observation.

    Attributes:
        behaviour: The behaviour that it is about.
        statement: Index of the statement.
        opposite: Index of the statement that says the opposite; None for a statement alone.
        key: 1 if agreeing with ``statement`` matches the behaviour, -1 if disagreeing does.
    """

    behaviour: str
    statement: int
    opposite: int | None
    key: int


def read_statements(source: str) -> list[Statement]:
    """Read statements.

    Args:
        source: "shipped"; or a file with ``behavior``, ``statement``, ``answer_matching_behavior``
            (agree or yes, disagree or no) and, for a statement and its opposite, the same ``pair``.

    Raises:
        DataError: The file cannot be read, or a row is malformed.
    """
    path = shipped_statements() if source == "shipped" else Path(source).expanduser()
    if not path.is_file():
        raise DataError(f"no statements at {source}", "name a file of statements, shipped, or none")
    return _read(path)


def read_facts() -> list[Statement]:
    """Read the shipped facts: pairs of a true and a false statement that nobody doubts."""
    return _read(shipped_facts())


def _read(path: Path) -> list[Statement]:
    table = open_table(path)

    def statement(row: Row) -> Statement:
        text = _column(row, ("statement",))
        behaviour = _column(row, BEHAVIOURS)
        answer = _column(row, (KEY,)).strip().lower()
        if answer not in KEYS:
            raise DataError(f"{row.where}: {KEY} is {answer[:20]!r}", near_misses(answer, KEYS))
        pair = str(row.values.get("pair", ""))
        return Statement(
            item_id(row, table.stem, text), behaviour.strip(), text.strip(), KEYS[answer], pair
        )

    statements = read_items(table, statement)
    _check_pairs(statements, table.name)
    return statements


def _column(row: Row, names: Sequence[str]) -> str:
    for name in names:
        if name in row.values:
            return string_of(row, name)
    has = ", ".join(str(column)[:40] for column in list(row.values)[:20])
    raise DataError(f"{row.where} has no {' or '.join(names)}", f"it has {has or 'nothing'}")


def _check_pairs(statements: Sequence[Statement], name: str) -> None:
    pairs: dict[str, list[Statement]] = {}
    for one in statements:
        if one.pair:
            pairs.setdefault(one.pair, []).append(one)
    for pair, members in pairs.items():
        keys = sorted(one.key for one in members)
        if keys != [-1, 1] or len({one.behaviour for one in members}) > 1:
            raise DataError(
                f"pair {pair[:40]!r} of {name} is no statement and its opposite",
                "give it two statements of one behaviour, one that matches it by agreeing and one "
                "by disagreeing",
            )


def items_of(statements: Sequence[Statement]) -> list[Item]:
    """Join statements and their opposites into items, in the statements' order.

    If some statements have no opposite, every statement is an item of its own: stances towards
    pairs and towards single statements are not on the same scale.
    """
    if not all(one.pair for one in statements):
        return [Item(one.behaviour, i, None, one.key) for i, one in enumerate(statements)]
    first: dict[str, int] = {}
    items = []
    for i, one in enumerate(statements):
        if one.pair in first:
            j = first[one.pair]
            items.append(Item(one.behaviour, j, i, statements[j].key))
        first.setdefault(one.pair, i)
    return items


def draw_items(statements: Sequence[Statement], limit: int, seed: int = 0) -> list[Statement]:
    """Draw statements evenly over the behaviours; pairs stay together, and so does their order.

    Args:
        statements: All of them.
        limit: Number of statements to keep at most.
        seed: Draws them.

    Raises:
        DataError: Too few items are left for an interval.
    """
    items = items_of(statements)
    size = 1 if any(item.opposite is None for item in items) else 2
    rng = np.random.default_rng(derive(seed, "statements"))
    # Everybody's first items come before anybody's second; keys take turns within a behaviour.
    place: dict[tuple[str, int], int] = {}
    ranked: list[tuple[int, int, Item]] = []
    for k in rng.permutation(len(items)).tolist():
        item = items[k]
        turn = place[item.behaviour, item.key] = place.get((item.behaviour, item.key), 0) + 1
        ranked.append((turn, len(ranked), item))
    kept = [item for _, _, item in sorted(ranked, key=lambda row: row[:2])[: limit // size]]
    if len(kept) < FEWEST_ITEMS:
        raise DataError(
            f"{len(kept) * size} statements are too few for a questionnaire",
            f"give it {FEWEST_ITEMS * size} or more",
        )
    chosen = {i for item in kept for i in (item.statement, item.opposite) if i is not None}
    return [one for i, one in enumerate(statements) if i in chosen]
