"""One run of the simulated loop, made once, whose history the tests damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from custodes.oversight.config import OverseeConfig
from custodes.oversight.controls.bookkeeping import OverseerPlan
from custodes.oversight.log import History
from custodes.oversight.run import oversee
from custodes.runs.events import read_events
from support.overseen import CONFIG, PLAN


@pytest.fixture(scope="session")
def sound_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "run"
    summary = oversee(OverseeConfig.model_validate(CONFIG), folder)
    assert [c["name"] for c in summary["controls"] if c["passed"] is False] == []
    return folder


@pytest.fixture(scope="session")
def sound(sound_folder: Path) -> History:
    return History.of(read_events(sound_folder / "events.jsonl"))


@pytest.fixture(scope="session")
def sham(sound_folder: Path) -> History:
    return History.of(read_events(sound_folder / "sham_run" / "events.jsonl"))


@pytest.fixture
def plan() -> OverseerPlan:
    return PLAN
