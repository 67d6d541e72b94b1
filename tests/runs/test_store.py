"""A finished stage is never made again, and a value is whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from custodes.errors import RunError
from custodes.runs.log import read_log
from custodes.runs.store import Store


def test_a_stage_is_made_once_and_reads_back_the_same(tmp_path: Path) -> None:
    made = []

    def make() -> dict[str, object]:
        made.append(1)
        return {"texts": ("a\ud800", "b\u2028"), "values": [None, 0.1]}

    first = Store(tmp_path / "stages").once("answers", make)
    assert first == Store(tmp_path / "stages").once("answers", make)
    assert first == {"texts": ["a\ud800", "b\u2028"], "values": [None, 0.1]}
    assert len(made) == 1


def test_a_stage_that_fails_is_made_again(tmp_path: Path) -> None:
    stages = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        stages.once("rate", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert not list(tmp_path.iterdir())
    assert stages.once("rate", lambda: 3) == 3


def test_a_damaged_stage_is_named(tmp_path: Path) -> None:
    (tmp_path / "rate.json").write_text("{")
    with pytest.raises(RunError, match=r"rate\.json is damaged"):
        Store(tmp_path).once("rate", lambda: 3)


def test_values_by_key(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(KeyError):
        store.get("ab/abc")
    store.put("ab/abc", {"text": "\ud800"})
    store.put("ab/abc", None)
    assert Store(tmp_path / "store").get("ab/abc") is None
    assert [path.name for path in (tmp_path / "store").rglob("*.*")] == ["abc.json"]


def test_a_stage_whose_value_is_null_is_made_once(tmp_path: Path) -> None:
    assert Store(tmp_path).once("rate", lambda: None) is None
    assert Store(tmp_path).once("rate", lambda: 3) is None


def test_times_are_kept_apart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.once("rate", lambda: 3)
    store.once("rate", lambda: 3)
    assert [row["stage"] for row in read_log(tmp_path / "timings.jsonl")] == ["rate"]
