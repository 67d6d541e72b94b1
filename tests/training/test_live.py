"""Live metrics: off by default, on for the trainings inside, and named when missing."""

from __future__ import annotations

import os
import sys
from types import ModuleType

import pytest

from custodes.errors import ConfigError
from custodes.oversight.config import OverseeConfig
from custodes.training import live
from custodes.training.live import live_metrics, report_to


def test_it_is_off_by_default() -> None:
    assert report_to() == "none"
    assert OverseeConfig(name="x").report_to == "none"


def test_it_is_on_inside_and_the_project_is_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "find_spec", lambda _: object())
    monkeypatch.delenv("TRACKIO_PROJECT", raising=False)
    with live_metrics("trackio", "mine"):
        assert report_to() == "trackio"
        assert os.environ["TRACKIO_PROJECT"] == "mine"
    assert report_to() == "none"
    assert "TRACKIO_PROJECT" not in os.environ


def test_a_project_of_the_users_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "find_spec", lambda _: object())
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    with live_metrics("wandb", "mine"):
        assert os.environ["WANDB_PROJECT"] == "theirs"
    assert os.environ["WANDB_PROJECT"] == "theirs"


def test_a_service_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="pip install wandb"), live_metrics("wandb", "mine"):
        raise AssertionError("must not begin")


def test_trainers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from custodes.training.trainer import settings

    torch = pytest.importorskip("torch")
    monkeypatch.setattr(live, "find_spec", lambda _: object())
    stand_in = ModuleType("model")
    stand_in.model = stand_in  # type: ignore[attr-defined]
    stand_in.device = torch.device("cpu")  # type: ignore[attr-defined]
    common = {"folder": "x", "batch": 1, "epochs": 1, "learning_rate": 1e-3, "seed": 0}
    with live_metrics("wandb", "mine"):
        assert settings(stand_in, **common)["report_to"] == "wandb"  # type: ignore[arg-type]
    assert settings(stand_in, **common)["report_to"] == "none"  # type: ignore[arg-type]
    assert "wandb" not in sys.modules
