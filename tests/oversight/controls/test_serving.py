"""Are the new weights served? Stale ones are found; changes too small to tell are not accused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from custodes.conversation import user_chat
from custodes.models import Sampling
from custodes.models.torch import TorchModel
from custodes.oversight.controls.serving import ROUNDING, ServingCheck, serving_check
from custodes.oversight.worker import ModelWorker
from custodes.runs.lineage import Checkpoint

CHATS = [user_chat(f"Tell me about {thing}.") for thing in ("bread", "rain", "a river", "songs")]


@pytest.fixture
def before(tiny_model_dir: Path) -> ModelWorker:
    return ModelWorker(str(tiny_model_dir), Sampling(max_tokens=8), engine="torch")


def changed(before: ModelWorker, adapter: Path, folder: Path, scale: float) -> ModelWorker:
    """Return the Worker with an adapter of which this share is added to the weights."""
    shutil.copytree(adapter, folder)
    settings = json.loads((folder / "adapter_config.json").read_text())
    settings["lora_alpha"] *= scale
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return before.at(Checkpoint(1, folder, 0, "teacher:helpfulness"))


def serve(worker: ModelWorker, model: TorchModel) -> None:
    worker.__dict__["serving"] = model


def test_new_weights_are_told_from_stale_ones(
    before: ModelWorker, tiny_adapter_dir: Path, tmp_path: Path
) -> None:
    worker = changed(before, tiny_adapter_dir, tmp_path / "1", 1.0)
    fresh = serving_check(worker, before, CHATS)
    assert fresh.separation is not None
    assert fresh.separation > ROUNDING
    assert fresh.control().passed
    base = before.serving
    assert isinstance(base, TorchModel)
    serve(worker, base)
    assert serving_check(worker, before, CHATS).control().passed is False


def test_a_worker_named_by_its_adapter_is_compared_with_that_adapter(
    before: ModelWorker, tiny_adapter_dir: Path, tmp_path: Path
) -> None:
    name = changed(before, tiny_adapter_dir, tmp_path / "1", 1.0).checkpoint.adapter
    named = ModelWorker(str(name), before.sampling, engine="torch")
    # The same weights under a checkpoint's name: nothing was changed, so nothing can be told.
    same = named.at(Checkpoint(1, name, 0, "teacher:helpfulness"))
    assert serving_check(same, named, CHATS).not_tested
    worker = changed(before, tiny_adapter_dir, tmp_path / "2", -1.0)
    by_name = serving_check(named.at(worker.checkpoint), named, CHATS)
    by_checkpoint = serving_check(worker, before.at(Checkpoint(1, name, 0, "")), CHATS)
    assert by_name == by_checkpoint


def test_a_change_too_small_to_tell_is_not_tested(
    before: ModelWorker, tiny_adapter_dir: Path, tmp_path: Path
) -> None:
    worker = changed(before, tiny_adapter_dir, tmp_path / "1", 1e-3)
    base = before.serving
    assert isinstance(base, TorchModel)
    # Rounding lets the engine write what the old weights write.
    serve(worker, base)
    check = serving_check(worker, before, CHATS)
    control = check.control()
    assert control.passed is None
    assert "needed to tell" in control.explanation
    assert control.figures["separation"] == check.separation


@pytest.mark.parametrize(
    ("agreement", "contrast", "separation", "passed"),
    [
        # Of tiny trainings, rounded: no fault of the served weights.
        (0.76, -0.006, 0.012, None),
        (0.88, -0.010, 0.02, None),
        (0.30, -0.006, 0.012, False),
        (0.88, -0.010, 0.08, False),
        (0.88, 0.05, 0.08, True),
    ],
)
def test_what_is_said_of_the_figures(
    agreement: float, contrast: float, separation: float, passed: bool | None
) -> None:
    check = ServingCheck("openvino", agreement, contrast, separation)
    assert check.control().passed is passed


def test_other_text_altogether_is_a_failure_however_small_the_change(
    before: ModelWorker, tiny_adapter_dir: Path, tmp_path: Path
) -> None:
    worker = changed(before, tiny_adapter_dir, tmp_path / "1", 1e-3)
    other = changed(before, tiny_adapter_dir, tmp_path / "2", 5.0).serving
    assert isinstance(other, TorchModel)
    serve(worker, other)
    assert serving_check(worker, before, CHATS).control().passed is False
