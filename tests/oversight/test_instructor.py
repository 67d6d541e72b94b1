"""The Instructor, and handing its checkpoint to a (fake) hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.hub_server import TOKEN, FakeHub

from custodes.cli import main
from custodes.conversation import user_chat
from custodes.errors import ConfigError, DataError, ModelError
from custodes.models import Sampling
from custodes.models.torch import TorchModel
from custodes.oversight.teachers.instructor import InstructorOptions, instruct, push_to_hub
from custodes.oversight.worker import ModelWorker
from custodes.runs.lineage import Checkpoint
from custodes.runs.lineage import Checkpoint as Made
from custodes.training.card import write_card
from custodes.training.lora import LoraOptions
from custodes.training.sft import SftOptions

DOLLY = [
    {"instruction": "Bake bread", "context": "", "response": "Mix flour and water, then bake it."},
    {"instruction": "Name the river", "context": "Paris is on the Seine.", "response": "Seine."},
    {"instruction": "Sing", "response": "The sea is wide, the sea is blue."},
]


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub library reads its offline switch once, wherever it is first imported."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture
def options(tmp_path: Path) -> InstructorOptions:
    data = tmp_path / "dolly.jsonl"
    data.write_text("\n".join(map(json.dumps, DOLLY)))
    return InstructorOptions(
        data=str(data),
        rows=2,
        sft=SftOptions(batch=1, epochs=3, learning_rate=1e-2),
        lora=LoraOptions(rank=4, alpha=8.0),
    )


@pytest.fixture
def worker(tiny_model_dir: Path) -> ModelWorker:
    return ModelWorker(str(tiny_model_dir), Sampling(max_tokens=8), engine="torch")


def test_it_makes_the_first_checkpoint(
    options: InstructorOptions, worker: ModelWorker, tmp_path: Path, tiny_model_dir: Path
) -> None:
    made = instruct(replace(options, rows=3), worker, tmp_path / "1")
    assert (made.number, made.parent, made.intervention) == (1, 0, "instructor")
    assert made.adapter == tmp_path / "1"
    assert made.metrics["data"] == {"source": "dolly.jsonl", "rows": 3, "of": 3}
    assert made.metrics["weights_moved"] > 0
    assert all(control["passed"] for control in made.metrics["controls"])
    base = TorchModel(tiny_model_dir)
    chat, answer = [user_chat("Name the river\n\nParis is on the Seine.")], ["Seine."]
    before = base.logprobs(chat, answer)[0].total
    assert base.with_adapter(made.adapter).logprobs(chat, answer)[0].total > before + 1


def test_rows_are_drawn_by_the_seed(
    options: InstructorOptions, worker: ModelWorker, tmp_path: Path
) -> None:
    hashes = {
        instruct(options, worker, tmp_path / str(seed), seed=seed).metrics["sft"]["data"]
        for seed in range(4)
    }
    assert len(hashes) > 1
    again = instruct(options, worker, tmp_path / "again", seed=1)
    first = instruct(options, worker, tmp_path / "1", seed=1)
    assert again.metrics == first.metrics


def test_what_cannot_be_meant_is_refused(
    options: InstructorOptions, worker: ModelWorker, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"instructor\.sft\.epochs is 0"):
        replace(options, sft=SftOptions(epochs=0))
    with pytest.raises(DataError):
        instruct(replace(options, data=str(tmp_path / "none.jsonl")), worker, tmp_path)
    with pytest.raises(ModelError, match="cannot be trained here"):
        instruct(options, ModelWorker("simulated", Sampling()), tmp_path)


# The hub, which is a fake


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    from huggingface_hub import constants

    with FakeHub() as fake:
        monkeypatch.setattr(constants, "ENDPOINT", fake.url)
        # Large files go by git-lfs, which the fake understands, and not by xet.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield fake


def checkpoint(folder: Path, *, inverted: bool = False) -> Checkpoint:
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "stages").mkdir()
    (folder / "stages" / "answers.json").write_text("[]")
    made = Made(1, folder, 0, "instructor", {"weights_moved": 0.1})
    write_card(folder, made, "smollm2-135m", inverted=inverted)
    return made


def test_a_checkpoint_is_handed_over_whole(
    hub: FakeHub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    address = push_to_hub(checkpoint(tmp_path / "c"), "me/mine")
    assert address == f"{hub.url}/me/mine/commit/1"
    assert hub.files["adapter_model.safetensors"] == b"weights"
    assert set(hub.files) == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "card.json",
    }
    assert hub.commits == ["custodes checkpoint 1: instructor"]
    assert hub.created[0]["visibility"] == "private"
    assert TOKEN not in "".join(capfd.readouterr())


def test_the_verb_pushes_a_checkpoint_by_its_folder(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint(tmp_path / "c")
    main(["models", "push", str(tmp_path / "c"), "me/mine"])
    assert hub.commits == ["custodes checkpoint 1: instructor"]
    assert hub.created[0]["visibility"] == "private"
    assert f"{hub.url}/me/mine/commit/1" in capsys.readouterr().out


def test_an_inverted_model_is_handed_to_nobody(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="marked inverted"):
        push_to_hub(checkpoint(tmp_path / "c", inverted=True), "me/mine")
    without = checkpoint(tmp_path / "d")
    (tmp_path / "d" / "card.json").unlink()
    with pytest.raises(ModelError, match="has no card"):
        push_to_hub(without, "me/mine")
    (tmp_path / "d" / "card.json").write_text('{"base": "x"}')
    with pytest.raises(ModelError, match="has no card"):
        push_to_hub(without, "me/mine")
    assert (hub.created, hub.commits) == ([], [])


def test_what_the_hub_does_not_do_is_one_clear_line(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = checkpoint(tmp_path / "c")
    with pytest.raises(ModelError, match="is the base itself"):
        push_to_hub(replace(made, adapter=None), "me/mine")
    with pytest.raises(ModelError, match="is no repository's id"):
        push_to_hub(made, "me/my mine")
    hub.refuse = 403
    with pytest.raises(ModelError, match=r"refused me/mine \(403\): check HF_TOKEN") as caught:
        push_to_hub(made, "me/mine")
    assert TOKEN not in str(caught.value)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(ModelError, match="no token for the hub: set HF_TOKEN"):
        push_to_hub(made, "me/mine")


def test_a_hub_that_is_not_there_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(ModelError, match="the hub cannot be reached"):
        push_to_hub(checkpoint(tmp_path / "c"), "me/mine")
