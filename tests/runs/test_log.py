from __future__ import annotations

from pathlib import Path

import pytest

from custodes.errors import RunError
from custodes.runs.log import Log


def test_rows_come_back(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with Log(path) as file:
        file.append([{"a": "\ud800\u2028\n"}, {"a": 2}])
        assert file.rows[0] == {"a": "\ud800\u2028\n"}
    with Log(path) as file:
        file.append([{"a": 3}])
        assert [row["a"] for row in file.rows[1:]] == [2, 3]
        assert file.torn == 0


@pytest.mark.parametrize("torn", [b'{"a": 4', b'{"a": 4, "b\n', b"\xff\n", b"[1]\n"])
def test_a_torn_end_is_dropped(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    with Log(path) as file:
        file.append([{"a": 1}])
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    with Log(path) as file:
        assert file.torn == len(torn)
        file.append([{"a": 2}])
    assert path.read_bytes() == whole + b'{"a":2}\n'


def test_damage_before_the_end_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\nnonsense\n{"a": 2}\n')
    with pytest.raises(RunError, match="line 2 is damaged"):
        Log(path)


def test_keeping_some(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with Log(path) as file:
        file.append([{"a": k} for k in range(5)])
        file.keep(2)
        file.append([{"a": 9}])
    with Log(path) as file:
        assert [row["a"] for row in file.rows] == [0, 1, 9]
