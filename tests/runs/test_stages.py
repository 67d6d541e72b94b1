"""A finished stage is never made again."""

from __future__ import annotations

from pathlib import Path

import pytest

from custodes.errors import RunError
from custodes.runs.stages import Stages


def test_a_stage_is_made_once_and_reads_back_the_same(tmp_path: Path) -> None:
    made = []

    def make() -> dict[str, object]:
        made.append(1)
        return {"texts": ("a\ud800", "b\u2028"), "values": [None, 0.1]}

    first = Stages(tmp_path / "stages").once("answers", make)
    assert first == Stages(tmp_path / "stages").once("answers", make)
    assert first == {"texts": ["a\ud800", "b\u2028"], "values": [None, 0.1]}
    assert len(made) == 1


def test_a_stage_that_fails_is_made_again(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        stages.once("rate", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert not list(tmp_path.iterdir())
    assert stages.once("rate", lambda: 3) == 3


def test_a_damaged_stage_is_named(tmp_path: Path) -> None:
    (tmp_path / "rate.json").write_text("{")
    with pytest.raises(RunError, match=r"rate\.json is damaged"):
        Stages(tmp_path).once("rate", lambda: 3)
