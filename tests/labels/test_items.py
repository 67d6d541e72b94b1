from __future__ import annotations

import json
from pathlib import Path

import pytest

from custodes.errors import CustodesWarning, DataError
from custodes.labels.items import GAP, left_side, read_choices, schedule
from support.labels import items

A, B = "An answer.", "Another answer."
TURN = [{"role": "user", "content": "Q?"}]


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Q?", "response_a": A, "response_b": B},
        {"prompt": "Q?", "chosen": A, "rejected": B},
        {"prompt": TURN, "response_a": A, "response_b": B},
        {"messages": TURN, "response_a": A, "response_b": B},
        {
            "chosen": [*TURN, {"role": "assistant", "content": A}],
            "rejected": [*TURN, {"role": "assistant", "content": B}],
        },
        {
            "chosen": f"\n\nHuman: Q?\n\nAssistant: {A}",
            "rejected": f"\n\nHuman: Q?\n\nAssistant: {B}",
        },
    ],
)
def test_notations_of_one_item(row: dict[str, object], tmp_path: Path) -> None:
    (item,) = read_choices(write(tmp_path / "x.jsonl", row))
    assert (item.prompt, item.a, item.b) == (tuple(TURN), A, B)


def test_csv_and_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "x.csv").write_text(f"prompt,response_a,response_b\nQ?,{A},{B}\n")
    table = pa.table({"prompt": ["Q?"], "response_a": [A], "response_b": [B]})
    pq.write_table(table, tmp_path / "x.parquet")
    one, two = (read_choices(tmp_path / name)[0] for name in ("x.csv", "x.parquet"))
    assert one == two


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "Q?", "chosen": A, "rejected": A}, "line 1: chosen and rejected are the same"),
        (
            {"prompt": "Q?", "text": A},
            r"line 1 has the columns prompt, text: it needs prompt \(or messages\) with "
            "response_a and response_b, or with chosen and rejected",
        ),
        ({"response_a": A, "response_b": B}, "it needs prompt"),
        ({"prompt": "Q?", "response_a": A, "response_b": ""}, "response_b is empty"),
        ({"prompt": "Q?", "response_a": A, "response_b": 3}, "response_b is a int"),
        (
            {
                "chosen": f"\n\nHuman: 1\n\nAssistant: {A}",
                "rejected": f"\n\nHuman: 2\n\nAssistant: {B}",
            },
            "answer different conversations",
        ),
    ],
)
def test_what_is_wrong_is_one_line(row: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as error:
        read_choices(write(tmp_path / "x.jsonl", row))
    assert "\n" not in str(error.value)


def test_a_repeated_row_is_one_item(tmp_path: Path) -> None:
    row = {"prompt": "Q?", "chosen": A, "rejected": B}
    with pytest.warns(CustodesWarning, match="read once"):
        assert len(read_choices(write(tmp_path / "x.jsonl", row, row))) == 1


def test_the_schedule_shows_each_item_and_repeats_a_share_later() -> None:
    things = items(200)
    showings = schedule(things, seed=3, repeats=0.15)
    first = [s.item.id for s in showings if not s.repeat]
    again = [s.item.id for s in showings if s.repeat]
    assert sorted(first) == sorted(item.id for item in things)
    assert first != [item.id for item in things]
    assert len(again) == len(set(again)) == 30
    places = {(s.item.id, s.repeat): place for place, s in enumerate(showings)}
    for item in again[:-3]:
        assert places[item, True] - places[item, False] > GAP
    # Whoever stops in the middle has seen half of the repeats.
    assert 11 <= sum(s.repeat for s in showings[:115]) <= 16


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("repeats", [0.0, 0.5, 1.0])
def test_few_items(n: int, repeats: float) -> None:
    showings = schedule(items(n), seed=0, repeats=repeats)
    assert len(showings) == n + round(n * repeats)
    for showing in showings:
        assert next(s.repeat for s in showings if s.item == showing.item) is False


def test_sides_are_drawn_for_each_annotator() -> None:
    things = items(400)
    ann, bob = ([left_side(item, name, 0) for item in things] for name in ("ann", "bob"))
    assert 160 < ann.count("a") < 240
    assert 160 < sum(x == y for x, y in zip(ann, bob, strict=True)) < 240
    assert ann == [left_side(item, "ann", 0) for item in things]
