from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from custodes.data import read_pairs
from custodes.errors import DataError, RunError
from custodes.labels import Item, Session
from custodes.labels.session import StaleError
from support.labels import always, careful, items, label_all


def rows_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_all_is_labelled_and_read_back_as_pairs(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    with Session(items(20), path, repeats=0.25) as session:
        assert label_all(session, "ann", careful(0)) == 25
        assert session.state("ann") | {"undo": ""} == {
            "annotator": "ann",
            "done": 25,
            "total": 25,
            "undo": "",
            "item": None,
        }
    pairs = read_pairs(path)
    assert len(pairs) == 20
    assert all(pair.chosen.startswith("good") for pair in pairs)
    assert all(pair.rejected == pair.chosen.replace("good", "bad") for pair in pairs)
    row = rows_of(path)[0]
    assert set(row) == {
        "prompt",
        "chosen",
        "rejected",
        "tie",
        "item",
        "annotator",
        "choice",
        "left",
        "repeat",
        "order",
        "seconds",
        "time",
        "seed",
    }
    assert [row["order"] for row in rows_of(path)] == list(range(1, 26))


def test_repeats_show_the_sides_swapped(tmp_path: Path) -> None:
    with Session(items(20), tmp_path / "x.jsonl", repeats=1.0) as session:
        label_all(session, "ann", careful(0))
        left = {(label.item, label.repeat): label.left for label in session.labels}
    assert all(left[item, True] != left[item, False] for item, repeat in left if repeat)


def test_ties_and_skips_are_kept_and_are_no_pairs(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with Session(items(4), path, repeats=1.0) as session:
        label_all(session, "ann", always("skip"))
        label_all(session, "bob", always("tie"))
        assert session.state("ann")["total"] == 4  # what was skipped is not shown again
    choices = [
        (row["annotator"], row["choice"], row["chosen"], row["tie"]) for row in rows_of(path)
    ]
    assert choices == [("ann", "skip", None, False)] * 4 + [("bob", "tie", None, True)] * 8
    assert read_pairs(path) == []


def test_the_majority_decides_and_ties_count(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with Session(items(6), path, repeats=0) as session:
        for name, habit in (
            ("ann", careful(0)),
            ("bob", careful(0)),
            ("cem", always("tie")),
            ("dan", careful(1)),
        ):
            label_all(session, name, habit)
    pairs = read_pairs(path)
    assert {pair.agreement for pair in pairs} == {0.5}
    assert all(pair.chosen.startswith("good") for pair in pairs)
    with Session(items(6), path, repeats=0) as session:
        label_all(session, "eve", careful(1))
    assert read_pairs(path) == []  # two against two


def test_repeats_are_no_second_vote(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with Session(items(6), path, repeats=1.0) as session:
        label_all(session, "ann", always("left"))  # contradicts every answer when it is repeated
        first = {label.item: label.chosen for label in session.labels if not label.repeat}
    assert {pair.id: pair.chosen for pair in read_pairs(path)} == first
    assert len(first) == 6


def test_a_second_page_neither_doubles_nor_loses(tmp_path: Path) -> None:
    """Both pages show the item; the second answer is refused, whatever it is."""
    with Session(items(3), tmp_path / "x.jsonl", repeats=0) as session:
        key = session.state("ann")["item"]["key"]
        session.answer("ann", key, "left", 1)
        for press in ("left", "right", "skip"):
            with pytest.raises(StaleError):
                session.answer("ann", key, press, 1)
        assert len(session.labels) == 1
        last = session.state("ann")["undo"]
        session.undo("ann", last)
        with pytest.raises(StaleError):
            session.undo("ann", last)
        with pytest.raises(StaleError):
            session.undo("bob", last)
        assert session.state("ann")["item"]["key"] == key


def test_many_pages_at_once_label_each_item_once(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with Session(items(30), path, repeats=0) as session:

        def page(name: str) -> None:
            while (item := session.state(name)["item"]) is not None:
                try:
                    session.answer(name, item["key"], "left", 0)
                except StaleError:
                    continue

        threads = [threading.Thread(target=page, args=(n,)) for n in ("ann", "bob") * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    keys = [(row["annotator"], row["item"]) for row in rows_of(path)]
    assert len(keys) == len(set(keys)) == 60


def test_undo_takes_back_ones_own_last_answer_only(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with Session(items(5), path, repeats=0) as session:
        label_all(session, "ann", always("left"), most=2)
        label_all(session, "bob", always("left"), most=2)
        session.undo("ann", session.state("ann")["undo"])
        assert [row["annotator"] for row in rows_of(path)] == ["ann", "bob", "bob"]
        label_all(session, "ann", always("right"), most=1)
        assert session.state("ann")["done"] == 2
    assert [row["annotator"] for row in rows_of(path)] == ["ann", "bob", "bob", "ann"]


def test_a_killed_labelling_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    things: Sequence[Item] = items(10)
    with Session(things, path, repeats=0.2) as session:
        label_all(session, "ann", careful(0), most=5)
        due = session.state("ann")["item"]
    with path.open("a") as file:
        file.write('{"item": "i3", "annot')
    with Session(things, path, repeats=0.2) as session:
        assert session.torn > 0
        assert session.state("ann")["done"] == 5
        assert session.state("ann")["item"] == due
        label_all(session, "ann", careful(0))
    assert len(rows_of(path)) == 12


def test_two_processes_cannot_write_one_file(tmp_path: Path) -> None:
    with (
        Session(items(2), tmp_path / "x.jsonl"),
        pytest.raises(RunError, match="open in another custodes label"),
    ):
        Session(items(2), tmp_path / "x.jsonl")


def test_labels_of_other_data_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with Session(items(3), path, repeats=0) as session:
        label_all(session, "ann", always("left"))
    with pytest.raises(DataError, match="about an item that the data does not have"):
        Session(items(2), path)
    changed = [Item(item.id, item.prompt, item.a + "!", item.b) for item in items(3)]
    with pytest.raises(DataError, match="about an item that the data does not have"):
        Session(changed, path)
    with Session(items(3), path) as session:  # the refusals have unlocked the file
        assert len(session.labels) == 3


def test_the_page_is_not_told_which_answer_is_which(tmp_path: Path) -> None:
    with Session(items(40), tmp_path / "x.jsonl") as session:
        sides = []
        while (item := session.state("ann")["item"]) is not None:
            assert set(item) == {"key", "prompt", "left", "right"}
            sides.append(item["left"].startswith("good"))
            session.answer("ann", item["key"], "skip", 0)
    assert 8 < sum(sides) < 32


def test_a_full_disk_records_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Session(items(3), tmp_path / "x.jsonl", repeats=0) as session:
        key = session.state("ann")["item"]["key"]

        def full(*_: object, **__: object) -> None:
            raise RunError("no space left")

        with monkeypatch.context() as patch:
            patch.setattr(session._log, "append", full)
            with pytest.raises(RunError):
                session.answer("ann", key, "left", 1)
        assert session.state("ann")["item"]["key"] == key
        session.answer("ann", key, "left", 1)
