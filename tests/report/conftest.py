"""Run folders with their reports: an ordinary one, a long one, a hostile one, one that stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from custodes.oversight.overseer import OverseerOptions
from custodes.report import write_report
from support.run_folders import ANSWERS, HOSTILE, Story, tell


def pytest_configure(config: pytest.Config) -> None:
    """Name this room's marker."""
    config.addinivalue_line("markers", "browser: opens a report in a real browser, if there is one")


def reported(folder: Path) -> Path:
    write_report(folder)
    return folder


@pytest.fixture(scope="session")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 8 steps with a null run and a flipped Expert, all of whose controls hold."""
    flipped = {"name": "flipped_expert@4", "kind": "flipped_expert", "at": 4, "until": 6}
    folder = tmp_path_factory.mktemp("runs") / "ordinary"
    return reported(tell(folder, Story(perturbations=[flipped]), null=Story(retrain=False)))


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which every text and every name is out to get whoever reads it."""
    name = "</title><script>alert(6)</script>\x1b[31m[bold]\u202e{{ 7*7 }}"
    names = dict.fromkeys(("worker", "helpfulness", "harmlessness"), name)
    noise = {"name": name, "kind": "noisy_expert", "at": 2, "until": None}
    story = Story(
        answers=HOSTILE, questions=HOSTILE[::-1], names=names, perturbations=[noise], batch=26
    )
    return reported(tell(tmp_path_factory.mktemp("runs") / "hostile", story))


@pytest.fixture(scope="session")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 600 steps, 40 retrains, 20 perturbations and texts without end."""
    overseer = OverseerOptions(max_retrains=40, thresholds={"harmlessness": 1.0})
    spans = [
        {"name": f"flipped_expert@{at}", "kind": "flipped_expert", "at": at, "until": at + 3}
        for at in range(10, 600, 30)
    ]
    answers = [f"{answer} <&> " * 400 for answer in ANSWERS]
    story = Story(
        steps=600, batch=8, answers=answers, perturbations=spans, overseer=overseer, gold_prompts=8
    )
    null = Story(steps=600, batch=8, overseer=overseer, gold_prompts=8, retrain=False)
    return reported(tell(tmp_path_factory.mktemp("runs") / "long", story, null=null))


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    """A run whose retrains left the weights where they were."""
    return reported(tell(tmp_path / "failed", Story(moved=0.0)))


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A run that ends in the middle, and has not got a summary."""
    return reported(tell(tmp_path / "stopped", Story(steps=3, ended=False), summary=False))
