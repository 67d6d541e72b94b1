"""Which columns of which file a diff reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from custodes.diff.config import DiffConfig
from custodes.diff.plan import plan
from custodes.errors import ConfigError, DataError


@pytest.fixture
def table(tmp_path: Path) -> str:
    (tmp_path / "x.csv").write_text("q,old,new\nWhy?,Because.,So.\nHow?,Thus.,\n")
    return str(tmp_path / "x.csv")


def test_two_columns_of_one_file(table: str) -> None:
    a, b = plan(
        DiffConfig(
            a=table, b=table, prompt_column="q", response_column_a="old", response_column_b="new"
        )
    ).sides
    assert (a.label, b.label) == ("x.csv old", "x.csv new")
    assert a.responses is not None
    assert b.responses is not None
    assert a.responses.prompts == ("Why?", "How?")
    assert a.responses.texts == (("Because.",), ("Thus.",))
    assert b.responses.texts == (("So.",), ("",))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"response_column_b": "new"}, "--response-column-b is for a file of responses"),
        ({"a": "simulated", "prompt_column": "q"}, "--prompt-column is for files of responses"),
    ],
)
def test_columns_are_for_files(table: str, options: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        plan(DiffConfig(**{"a": table, "b": "simulated"} | options))


def test_unknown_columns_name_the_options(table: str) -> None:
    with pytest.raises(DataError, match=r"has the columns q, old, new: .*--response-column"):
        plan(DiffConfig(a=table, b=table))
    with pytest.raises(
        DataError, match=r"no column 'od' \(it has q, old, new\): did you mean old\?"
    ):
        plan(DiffConfig(a=table, b=table, prompt_column="q", response_column="od"))
