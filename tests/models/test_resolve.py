"""From names to models: what a name means, and one clear line where it means nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from conftest import make_tiny_adapter
from custodes.conversation import user_chat
from custodes.errors import ConfigError, ModelError
from custodes.models.base import Sampling
from custodes.models.resolve import load, load_torch, parse, version_of
from custodes.models.torch import TorchModel

CHATS = [user_chat("How do I bake bread?"), user_chat("Hello")]
GREEDY = Sampling(max_tokens=8, temperature=0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTODES_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("smollm2-135m", "bundled"),
        ("qwen2.5-coder-1.5b", "bundled"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "hub"),
        ("endpoint:org/model:tag@http://localhost:8000/v1", "endpoint"),
        ("simulated", "simulated"),
        ("simulated:harmful=0.5", "simulated"),
    ],
)
def test_a_name_says_where_a_model_is(name: str, kind: str) -> None:
    ref = parse(name)
    assert (ref.name, ref.kind) == (name, kind)


def test_folders_are_told_apart_by_what_is_in_them(
    tiny_model_dir: Path, tiny_adapter_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parse(str(tiny_model_dir)).kind == "folder"
    adapter = parse(str(tiny_adapter_dir))
    assert adapter.kind == "adapter"
    assert adapter.base == parse(str(tiny_model_dir))
    (tmp_path / "some.gguf").touch()
    assert parse(str(tmp_path / "some.gguf")).kind == "gguf"
    # A folder that is there comes before a hub's id of the same spelling.
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_model_dir, tmp_path / "org/name")
    assert parse("org/name").kind == "folder"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smolm2-135m", "no model is called 'smolm2-135m': did you mean smollm2-135m"),
        ("gpt2", r"a Hugging Face id \(org/name\)"),
        ("", "no model is called ''"),
        ("./no/such/folder", "there is no model at ./no/such/folder"),
        ("no/such.gguf", "there is no model at no/such.gguf"),
    ],
)
def test_an_unknown_name_is_one_line(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as raised:
        parse(name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["endpoint:nothing", "simulated:helpfull=1"])
def test_a_prefix_with_nonsense_behind_it_is_a_config_error(name: str) -> None:
    with pytest.raises(ConfigError):
        parse(name)


def adapter_on(folder: Path, base: object) -> str:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    return str(folder)


def test_an_adapters_base_is_named_like_any_model(tmp_path: Path, tiny_adapter_dir: Path) -> None:
    found = parse(adapter_on(tmp_path / "a", "smollm2-135m"))
    assert found.base is not None
    assert found.base.kind == "bundled"
    with pytest.raises(ModelError, match="names no base model"):
        parse(adapter_on(tmp_path / "b", None))
    with pytest.raises(ModelError, match="no model is called 'nowhere'"):
        parse(adapter_on(tmp_path / "c", "nowhere"))
    with pytest.raises(ModelError, match="is an adapter too"):
        parse(adapter_on(tmp_path / "d", str(tiny_adapter_dir)))
    (tmp_path / "a/adapter_config.json").write_text("[")
    with pytest.raises(ModelError, match="is not JSON"):
        parse(str(tmp_path / "a"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="holds no model"):
        parse(str(tmp_path / "empty"))


def test_a_folder_and_its_adapter_load_on_torch(
    tiny_model_dir: Path, tiny_adapter_dir: Path
) -> None:
    base = load(str(tiny_model_dir), engine="torch")
    adapted = load(str(tiny_model_dir), engine="torch", adapter=tiny_adapter_dir)
    by_name = load_torch(str(tiny_adapter_dir))
    assert (base.engine, base.name) == ("torch", str(tiny_model_dir))
    assert by_name.version == adapted.version != base.version
    answers = adapted.generate(CHATS, GREEDY)
    assert by_name.generate(CHATS, GREEDY) == answers != base.generate(CHATS, GREEDY)


def test_auto_takes_openvino_and_keeps_what_it_merged(
    tiny_model_dir: Path, tiny_adapter_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino_genai")
    merged = tmp_path / "cache/gguf"
    base = load(str(tiny_model_dir))
    adapted = load(str(tiny_model_dir), adapter=tiny_adapter_dir)
    by_name = load(str(tiny_adapter_dir))
    assert {base.engine, adapted.engine, by_name.engine} == {"openvino"}
    assert by_name.version == adapted.version != base.version
    assert {path.name for path in merged.iterdir()} == {
        f"{base.version}.gguf",
        f"{adapted.version}.gguf",
    }
    answers = adapted.generate(CHATS, GREEDY)
    assert by_name.generate(CHATS, GREEDY) == answers != base.generate(CHATS, GREEDY)
    # Merged once: no torch model is loaded for what is there.
    monkeypatch.delattr("custodes.models.torch.TorchModel")
    again = load(str(tiny_model_dir), adapter=tiny_adapter_dir)
    assert again.generate(CHATS, GREEDY) == answers


def test_the_cache_keeps_the_merged_files_used_last(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino_genai")
    monkeypatch.setattr("custodes.models.resolve._MERGED_KEPT", 2)
    lora = [make_tiny_adapter(tiny_model_dir, tmp_path / str(seed), seed) for seed in range(3)]
    versions = [load(str(tiny_model_dir), adapter=lora[i]).version for i in (0, 1, 0, 2)]
    kept = {path.stem for path in (tmp_path / "cache/gguf").glob("*.gguf")}
    assert kept == {versions[0], versions[3]}


def test_a_failed_write_leaves_no_merged_file(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino_genai")

    def full(model: object, out: Path, *, quant: str) -> None:
        out.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("custodes.models.formats.gguf.write_gguf", full)
    with pytest.raises(ModelError, match="no space left"):
        load(str(tiny_model_dir))
    assert list((tmp_path / "cache/gguf").iterdir()) == []


def test_what_openvino_cannot_serve_torch_does(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("custodes.models.formats.gguf.supports", lambda model: False)
    assert load(str(tiny_model_dir)).engine == "torch"
    monkeypatch.setattr("custodes.models.resolve.find_spec", lambda name: None)
    assert load(str(tiny_model_dir)).engine == "torch"


@pytest.mark.bundled
def test_the_bundled_model_on_its_engines(bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two engines agree on weights, template, tokens and positions; rounding parts them later."""
    pytest.importorskip("openvino_genai")
    monkeypatch.setenv("CUSTODES_CACHE", str(bundled.parents[1]))
    fast, slow = load("smollm2-135m"), load_torch("smollm2-135m")
    assert (fast.engine, slow.engine) == ("openvino", "torch")
    asked = [user_chat("What is the capital of France?"), user_chat("Name three colours.")]
    greedy = Sampling(max_tokens=16, temperature=0)
    said, own = ([row[0] for row in model.generate(asked, greedy)] for model in (fast, slow))
    assert own[0].startswith("The capital of France is Paris")
    theirs, ours = (slow.logprobs(asked, texts) for texts in (said, own))
    for one, other in zip(theirs, ours, strict=True):
        assert one.logprobs.mean() > other.logprobs.mean() - 0.7


def test_engines_serve_what_they_can(tiny_model_dir: Path) -> None:
    assert load("simulated").engine == "simulated"
    with pytest.raises(ModelError, match="did you mean torch"):
        load("simulated", engine="torchh")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="engine torch cannot serve simulated: use auto or simul"):
        load("simulated", engine="torch")
    with pytest.raises(ModelError, match="engine endpoint cannot serve"):
        load(str(tiny_model_dir), engine="endpoint")
    with pytest.raises(ModelError, match="the weights of simulated are not here"):
        load_torch("simulated")


def test_a_first_use_without_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ModelError, match="no connection to the package index"):
        load_torch("smollm2-135m")


# The hub: the real client, over a cache on this disk


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def put(hub: Path, name: str, source: Path) -> Path:
    """Lay a folder out as the hub's client does."""
    repo, commit = hub / f"models--{name.replace('/', '--')}", "0123456789abcdef" * 2 + "01234567"
    snapshot = repo / "snapshots" / commit
    shutil.copytree(source, snapshot)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(commit)
    return snapshot


def test_a_hub_id_loads_offline_from_the_hubs_cache(
    hub: Path, tiny_model_dir: Path, tiny_adapter_dir: Path
) -> None:
    put(hub, "org/tiny", tiny_model_dir)
    model = load_torch("org/tiny")
    local = TorchModel(tiny_model_dir)
    assert (model.name, model.version) == ("org/tiny", local.version)
    assert model.generate(CHATS, GREEDY) == local.generate(CHATS, GREEDY)
    # An adapter on the hub, whose base is on the hub too.
    snapshot = put(hub, "org/lora", tiny_adapter_dir)
    settings: dict[str, Any] = json.loads((snapshot / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = "org/tiny"
    (snapshot / "adapter_config.json").write_text(json.dumps(settings))
    assert load_torch("org/lora").version == local.with_adapter(tiny_adapter_dir).version
    settings["base_model_name_or_path"] = "org/lora"
    (snapshot / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="the base of org/lora is an adapter too"):
        load_torch("org/lora")


def test_a_hub_id_that_is_not_cached_is_one_line_offline(hub: Path) -> None:
    with pytest.raises(ModelError, match=r"org/none .* cannot be reached: connect once") as raised:
        load_torch("org/none")
    assert "\n" not in str(raised.value)


def test_pickles_from_a_hub_are_refused(hub: Path, tiny_model_dir: Path) -> None:
    snapshot = put(hub, "org/pickle", tiny_model_dir)
    (snapshot / "model.safetensors").rename(snapshot / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"has no \.safetensors file"):
        load_torch("org/pickle")


def test_only_safe_files_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[str] = []

    def snapshot_download(name: str, *, allow_patterns: list[str]) -> str:
        asked.extend(allow_patterns)
        raise huggingface_hub.errors.LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(ModelError):
        load_torch("org/any")
    assert asked
    assert not any(pattern.endswith((".bin", ".py", ".pt", "*")) for pattern in asked)


def test_versions_come_from_files_and_not_from_names(
    tiny_model_dir: Path, tiny_adapter_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [load_torch(str(d)).version for d in (tiny_model_dir, tiny_adapter_dir)]

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr("custodes.models.torch.load_weights", never)
    assert [version_of(str(d)) for d in (tiny_model_dir, tiny_adapter_dir)] == expected
    shutil.copytree(tiny_model_dir, tmp_path / "copy")
    assert version_of(str(tmp_path / "copy")) == expected[0]
    with (tmp_path / "copy" / "config.json").open("a") as file:
        file.write(" ")
    assert version_of(str(tmp_path / "copy")) != expected[0]
    assert version_of("simulated") is None
    assert version_of("endpoint:m@http://127.0.0.1:9/v1") is None
