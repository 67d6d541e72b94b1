"""Readers of prompts, preference pairs and demonstrations, in the usual formats of datasets.

Formats, row by row: Dolly and Alpaca (``instruction`` or ``prompt``, ``context`` or ``input``,
``response`` or ``output``), hh-rlhf (``chosen`` and ``rejected`` as transcripts of Human and
Assistant, or with ``prompt`` as messages), lists of plain prompts, and OpenAI's ``messages``.
"""

from __future__ import annotations

from pathlib import Path

from custodes.conversation import Demonstration, PreferencePair, Query
from custodes.data.labels import are_labels, labels_of, preference_pairs
from custodes.data.rows import (
    RESPONSE_COLUMNS,
    answer_of,
    column_of,
    item_id,
    prompt_of,
    read_items,
    share_of,
    string_of,
)
from custodes.data.tables import Row, open_table
from custodes.errors import DataError, near_misses

__all__ = [
    "read_demonstrations",
    "read_pairs",
    "read_prompts",
]


def read_prompts(source: str | Path, *, domain: str, split: str | None = "loop") -> list[Query]:
    """Read the queries of a User.

    Args:
        source: A shipped set (everyday, harm_adjacent, look_alikes), a file (JSONL, JSON, CSV,
            Parquet, or text with a prompt a line), a folder of files, or a hub dataset
            (``owner/name[:split]``).
        domain: The domain of all queries.
        split: If rows have a ``split``, only those of this split are read. A file without the
            column has no held-out part, and all its rows are read. None reads all rows.

    Returns:
        Queries in the file's order. Their ids are those of the file (a number gets the file's
        name as a prefix) or else a hash of the conversation, which does not depend on the order.

    Raises:
        DataError: The source is missing, empty or malformed; the message has the line number.
    """
    splits: set[str] = set()

    def query(row: Row) -> Query | None:
        part = str(row.values.get("split", split))
        splits.add(part)
        if split is not None and part != split:
            return None
        chat = prompt_of(row)
        topic = str(row.values.get("topic", row.values.get("category", "")))
        return Query(item_id(row, table.stem, chat), chat, domain, topic)

    table = open_table(source)
    queries = read_items(table, query)
    if not queries:
        remedy = near_misses(str(split), splits)
        raise DataError(f"{source} has no row of split {split!r}", remedy)
    return queries


def read_pairs(source: str | Path) -> list[PreferencePair]:
    """Read preference pairs (see `read_prompts` for sources, ids and errors).

    The answers of `custodes label` are preference pairs, too: those of several annotators to one
    item become one pair, in which ``agreement`` is the share of those who preferred ``chosen``.
    """

    def pair(row: Row) -> PreferencePair:
        before, chosen = answer_of(row, "chosen")
        other, rejected = answer_of(row, "rejected")
        if before != other:
            raise DataError(
                f"{row.where}: chosen and rejected answer different conversations",
                "give both the same turns before the last",
            )
        if chosen == rejected:
            raise DataError(f"{row.where}: chosen and rejected are the same", "remove the line")
        prompt = before or prompt_of(row)
        key = item_id(row, table.stem, (prompt, chosen, rejected))
        return PreferencePair(key, prompt, chosen, rejected, share_of(row, "agreement"))

    table = open_table(source)
    rows, labelled = are_labels(table)
    return preference_pairs(labels_of(rows)) if labelled else read_items(rows, pair)


def read_demonstrations(source: str | Path) -> list[Demonstration]:
    """Read demonstrations (see `read_prompts` for sources, ids and errors).

    In ``messages`` the last answer is the response, and everything before it is the prompt.
    """

    def demonstration(row: Row) -> Demonstration:
        if "messages" in row.values:
            prompt, response = answer_of(row, "messages")
        else:
            column = column_of(row, RESPONSE_COLUMNS)
            prompt, response = prompt_of(row), string_of(row, column)
        return Demonstration(item_id(row, table.stem, (prompt, response)), prompt, response)

    table = open_table(source)
    return read_items(table, demonstration)
