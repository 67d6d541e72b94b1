"""Two models that are to be compared: the engine is not what differs between them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import make_tiny_model
from custodes.conversation import user_chat
from custodes.models import resolve
from custodes.models.resolve import load_pair, load_torch, load_torch_pair


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would be loaded; "odd" is a model that OpenVINO does not know."""
    calls: list[dict[str, Any]] = []

    def load(name: str, *, engine: str = "auto", like_checkpoints: bool = False) -> Any:
        calls.append({"name": name, "engine": engine, "like": like_checkpoints})
        served = "torch" if "odd" in name or engine == "torch" else "openvino"
        return SimpleNamespace(name=name, engine=served)

    monkeypatch.setattr(resolve, "load", load)
    return calls


def gguf(folder: Path, name: str) -> str:
    (folder / name).touch()
    return str(folder / name)


def test_two_quantisations_are_served_as_they_are(
    tmp_path: Path, loaded: list[dict[str, Any]]
) -> None:
    load_pair(gguf(tmp_path, "q4.gguf"), gguf(tmp_path, "q8.gguf"))
    assert [call["like"] for call in loaded] == [False, False]


def test_beside_an_adapter_a_gguf_is_served_as_checkpoints_are(
    tmp_path: Path, tiny_adapter_dir: Path, loaded: list[dict[str, Any]]
) -> None:
    load_pair(gguf(tmp_path, "base.gguf"), str(tiny_adapter_dir))
    assert [call["like"] for call in loaded] == [True, True]


def test_both_are_served_by_torch_where_one_must_be(
    tmp_path: Path, loaded: list[dict[str, Any]]
) -> None:
    one, two = load_pair(gguf(tmp_path, "q4.gguf"), gguf(tmp_path, "odd.gguf"))
    assert (one.engine, two.engine) == ("torch", "torch")


def test_one_name_is_loaded_once(tmp_path: Path, loaded: list[dict[str, Any]]) -> None:
    name = gguf(tmp_path, "q4.gguf")
    one, two = load_pair(name, name)
    assert one is two
    assert len(loaded) == 1


def test_a_shared_base_is_loaded_once(tiny_model_dir: Path, tiny_adapter_dir: Path) -> None:
    one, two = load_torch_pair(str(tiny_model_dir), str(tiny_adapter_dir))
    assert one.model is two.model
    assert (one.name, two.name) == (str(tiny_model_dir), str(tiny_adapter_dir))
    chats = [user_chat("How do I bake bread?")]
    for model, name in ((one, tiny_model_dir), (two, tiny_adapter_dir)):
        alone = load_torch(str(name))
        assert model.version == alone.version
        told, expected = (m.logprobs(chats, ["Mix flour"])[0].total for m in (model, alone))
        assert told == pytest.approx(expected, abs=1e-4)


def test_other_bases_are_loaded_apart(tiny_model_dir: Path, tmp_path: Path) -> None:
    other = make_tiny_model(tmp_path / "other", seed=1)
    one, two = load_torch_pair(str(tiny_model_dir), str(other))
    assert one.model is not two.model
