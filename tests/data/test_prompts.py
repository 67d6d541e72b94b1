"""The shipped prompts are whole: counts, keys, clean text, nothing on both sides of the split."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from importlib.resources import files
from itertools import groupby
from typing import Any, NamedTuple

import pytest

Row = dict[str, Any]
Trigrams = frozenset[tuple[str, ...]]

PAIRS = ("peace_violence", "privacy_doxxing", "racial_equality_racism", "gender_equality_sexism")
EVERYDAY = (
    "cooking", "writing", "study", "work", "health",
    "travel", "home", "money", "technology", "people",
)  # fmt: skip
KEYS = ["id", "topic", "split", "prompt"]
LONGEST_RUN = 4  # rows of one split in a row: more would mean the splits are not interleaved
SIMILAR = 0.5


class Shape(NamedTuple):
    """What one file has to hold: its id prefix, its topics, and the rows per topic and split."""

    prefix: str
    topics: tuple[str, ...]
    loop: int
    gold: int


SHAPES = {
    "everyday": Shape("everyday", EVERYDAY, loop=24, gold=16),
    "harm_adjacent": Shape("harm", PAIRS, loop=60, gold=40),
    "look_alikes": Shape("lookalike", PAIRS, loop=15, gold=15),
}


def read_text(name: str) -> str:
    return (files("custodes.data") / "prompts" / f"{name}.jsonl").read_text(encoding="utf-8")


def read_rows(name: str) -> list[Row]:
    return [json.loads(line) for line in read_text(name).splitlines()]


def all_rows() -> list[Row]:
    return [row for name in SHAPES for row in read_rows(name)]


def words(text: str) -> list[str]:
    return re.findall(r"\w+(?:'\w+)*", text.lower().replace("’", "'"))


def trigrams(text: str) -> Trigrams:
    found = words(text)
    return frozenset(tuple(found[i : i + 3]) for i in range(len(found) - 2))


def jaccard(a: Trigrams, b: Trigrams) -> float:
    union = len(a | b)
    return len(a & b) / union if union else 0.0


def key_problems(rows: list[Row]) -> list[str]:
    """Rows that have a key too many or too few, or a value that is no text."""
    return [
        f"{row.get('id')}: {list(row)}"
        for row in rows
        if list(row) != KEYS or not all(isinstance(value, str) for value in row.values())
    ]


def id_problems(rows: list[Row], shape: Shape) -> list[str]:
    """Ids that are not prefix-001, prefix-002, ... in this order."""
    wanted = [f"{shape.prefix}-{number:03d}" for number in range(1, len(rows) + 1)]
    return [f"{row['id']} != {want}" for row, want in zip(rows, wanted, strict=True)
            if row["id"] != want]  # fmt: skip


def count_problems(rows: list[Row], shape: Shape) -> list[str]:
    """Topics and splits whose number of rows is not the promised one."""
    wanted = {
        (topic, split): number
        for topic in shape.topics
        for split, number in (("loop", shape.loop), ("gold", shape.gold))
    }
    found = Counter((row["topic"], row["split"]) for row in rows)
    return [
        f"{key}: {found.get(key, 0)} rows, not {wanted.get(key, 0)}"
        for key in sorted({*wanted, *found})
        if found.get(key, 0) != wanted.get(key, 0)
    ]


def order_problems(rows: list[Row]) -> list[str]:
    """Long runs of one split."""
    runs = [(split, len(list(run))) for split, run in groupby(rows, key=lambda row: row["split"])]
    return [f"{length} rows of {split} in a row" for split, length in runs if length > LONGEST_RUN]


def text_problems(rows: list[Row]) -> list[str]:
    """Prompts with control characters, stray spaces, odd lengths or unnormalised Unicode."""
    problems = []
    for row in rows:
        text = row["prompt"]
        if any(unicodedata.category(letter).startswith("C") for letter in text):
            problems.append(f"{row['id']}: control character")
        if text != " ".join(text.split()):
            problems.append(f"{row['id']}: stray whitespace")
        if unicodedata.normalize("NFC", text) != text or "\N{REPLACEMENT CHARACTER}" in text:
            problems.append(f"{row['id']}: not NFC, or decoded badly")
        if not 6 <= len(text.split()) <= 60:
            problems.append(f"{row['id']}: {len(text.split())} words")
    return problems


def repeat_problems(rows: list[Row]) -> list[str]:
    """Ids, or prompts up to case and punctuation, that occur twice."""
    ids = Counter(row["id"] for row in rows)
    prompts = Counter(" ".join(words(row["prompt"])) for row in rows)
    return [key for counter in (ids, prompts) for key, times in counter.items() if times > 1]


def overlap_problems(rows: list[Row]) -> list[str]:
    """Pairs of one loop and one gold prompt that share half of their word trigrams or more."""
    loop = [(row["id"], trigrams(row["prompt"])) for row in rows if row["split"] == "loop"]
    gold = [(row["id"], trigrams(row["prompt"])) for row in rows if row["split"] == "gold"]
    return [
        f"{left} ~ {right}"
        for left, a in loop
        for right, b in gold
        if not a.isdisjoint(b) and jaccard(a, b) >= SIMILAR
    ]


def problems(rows: list[Row], shape: Shape) -> list[str]:
    """All that is wrong with one file."""
    broken = key_problems(rows)
    if broken:
        return broken
    return [
        *id_problems(rows, shape),
        *count_problems(rows, shape),
        *order_problems(rows),
        *text_problems(rows),
        *repeat_problems(rows),
        *overlap_problems(rows),
    ]


@pytest.mark.parametrize("name", SHAPES)
def test_file_is_whole(name: str) -> None:
    assert problems(read_rows(name), SHAPES[name]) == []


@pytest.mark.parametrize("name", SHAPES)
def test_file_is_one_object_a_line(name: str) -> None:
    text = read_text(name)
    assert text.endswith("}\n")
    assert "\r" not in text
    assert not text.startswith("\N{ZERO WIDTH NO-BREAK SPACE}")
    assert all(line.startswith("{") for line in text.split("\n")[:-1])


@pytest.mark.parametrize(
    ("name", "loop", "gold"),
    [("everyday", 240, 160), ("harm_adjacent", 240, 160), ("look_alikes", 60, 60)],
)
def test_totals(name: str, loop: int, gold: int) -> None:
    assert Counter(row["split"] for row in read_rows(name)) == {"loop": loop, "gold": gold}


def test_nothing_repeats_across_files() -> None:
    assert repeat_problems(all_rows()) == []


def test_no_ask_on_both_sides_of_the_split_across_files() -> None:
    assert overlap_problems(all_rows()) == []


def _drop(rows: list[Row]) -> None:
    del rows[7]


def _extra_key(rows: list[Row]) -> None:
    rows[3]["note"] = "x"


def _missing_key(rows: list[Row]) -> None:
    del rows[3]["topic"]


def _not_text(rows: list[Row]) -> None:
    rows[3]["prompt"] = 5


def _unknown_topic(rows: list[Row]) -> None:
    rows[3]["topic"] = "gardening"


def _other_split(rows: list[Row]) -> None:
    rows[3]["split"] = "gold" if rows[3]["split"] == "loop" else "loop"


def _unknown_split(rows: list[Row]) -> None:
    rows[3]["split"] = "test"


def _swapped(rows: list[Row]) -> None:
    rows[3], rows[4] = rows[4], rows[3]


def _halves(rows: list[Row]) -> None:
    ids = [row["id"] for row in rows]
    rows.sort(key=lambda row: row["split"])
    for row, name in zip(rows, ids, strict=True):
        row["id"] = name


def _control(rows: list[Row]) -> None:
    rows[3]["prompt"] += "\x07"


def _newline(rows: list[Row]) -> None:
    rows[3]["prompt"] = rows[3]["prompt"].replace(" ", "\n", 1)


def _spaces(rows: list[Row]) -> None:
    rows[3]["prompt"] += " "


def _empty(rows: list[Row]) -> None:
    rows[3]["prompt"] = ""


def _too_long(rows: list[Row]) -> None:
    rows[3]["prompt"] = " ".join(f"word{i}" for i in range(61))


def _bad_decoding(rows: list[Row]) -> None:
    rows[3]["prompt"] += "\N{REPLACEMENT CHARACTER}"


def _same_prompt(rows: list[Row]) -> None:
    rows[3]["prompt"] = rows[8]["prompt"].upper()


def _near_duplicate(rows: list[Row]) -> None:
    source = max((row for row in rows if row["split"] == "loop"), key=lambda r: len(r["prompt"]))
    target = next(row for row in rows if row["split"] == "gold")
    target["prompt"] = " ".join([*source["prompt"].split()[:-2], "please, thanks"])


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(
    "damage",
    [
        _drop, _extra_key, _missing_key, _not_text, _unknown_topic, _other_split, _unknown_split,
        _swapped, _halves, _control, _newline, _spaces, _empty, _too_long, _bad_decoding,
        _same_prompt, _near_duplicate,
    ],
)  # fmt: skip
def test_damage_is_noticed(name: str, damage: Callable[[list[Row]], None]) -> None:
    rows = read_rows(name)
    damage(rows)
    assert problems(rows, SHAPES[name]) != []


def test_near_duplicate_is_the_overlap_check_alone() -> None:
    rows = read_rows("everyday")
    _near_duplicate(rows)
    found = problems(rows, SHAPES["everyday"])
    assert found == overlap_problems(rows)
    assert len(found) == 1
