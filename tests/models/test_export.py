"""What leaves custodes loads elsewhere, whole, marked for what it is, and over nothing of yours."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from custodes.conversation import user_chat
from custodes.errors import ConfigError, ModelError, RunError
from custodes.models.base import Sampling
from custodes.models.formats.export import Format, export
from custodes.models.resolve import parse
from custodes.models.torch import TorchModel

CHATS = [user_chat("How do I bake bread?"), user_chat("Hello")]
TEXTS = ["Mix flour and water.", "No."]
FORMATS: tuple[Format, ...] = ("peft", "safetensors", "gguf")


@pytest.fixture
def checkpoint(tiny_adapter_dir: Path, tmp_path: Path) -> Path:
    """A checkpoint with a card, and with a pickle that lies beside it."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_adapter_dir, folder)
    (folder / "card.json").write_text(json.dumps({"inverted": False, "parent": 0}))
    (folder / "README.md").write_text("# Checkpoint")
    (folder / "training_args.bin").write_bytes(b"pickle")
    return folder


def place(tmp_path: Path, form: Format) -> Path:
    return tmp_path / ("out.gguf" if form == "gguf" else "out")


def scores(model: TorchModel) -> Any:
    return np.concatenate([s.logprobs for s in model.logprobs(CHATS, TEXTS)])


def test_a_merged_folder_loads_in_plain_transformers(
    tiny_model_dir: Path, checkpoint: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = export(str(tiny_model_dir), tmp_path / "deep" / "out", "safetensors", adapter=checkpoint)
    plain, told = AutoModelForCausalLM.from_pretrained(
        out, dtype=torch.bfloat16, output_loading_info=True
    )
    assert not any(told.values())
    assert plain.config.tie_word_embeddings
    ids = AutoTokenizer.from_pretrained(out).apply_chat_template(
        list(CHATS[0]), add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    said = plain.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
    (expected,) = TorchModel(out).generate(CHATS[:1], Sampling(max_tokens=8, temperature=0))
    assert TorchModel(out).tokenizer.decode(said, skip_special_tokens=True) == expected[0]


@pytest.mark.parametrize("form", ["safetensors", "gguf"])
def test_the_adapter_is_in_it(
    tiny_model_dir: Path, checkpoint: Path, tmp_path: Path, form: Format
) -> None:
    out = export(str(tiny_model_dir), place(tmp_path, form), form, adapter=checkpoint)
    base = TorchModel(tiny_model_dir, dtype="float32")
    exported = scores(TorchModel(out, dtype="float32"))
    adapted = scores(base.with_adapter(checkpoint))
    # bf16 or 8-bit weights against an adapter in float32.
    assert np.abs(exported - adapted).mean() < 0.2 < np.abs(exported - scores(base)).mean()


def test_a_checkpoint_by_its_own_name_needs_no_base(checkpoint: Path, tmp_path: Path) -> None:
    export(str(checkpoint), tmp_path / "a.gguf", "gguf")
    given = json.loads((checkpoint / "adapter_config.json").read_text())["base_model_name_or_path"]
    export(given, tmp_path / "b.gguf", "gguf", adapter=checkpoint)
    a, b = (scores(TorchModel(tmp_path / f"{x}.gguf", dtype="float32")) for x in "ab")
    np.testing.assert_array_equal(a, b)


def test_an_adapter_leaves_with_its_card_and_without_pickles(
    checkpoint: Path, tiny_model_dir: Path, tmp_path: Path
) -> None:
    out = export(str(checkpoint), tmp_path / "out", "peft")
    assert {file.name for file in out.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "card.json",
        "README.md",
    }
    base = TorchModel(tiny_model_dir, dtype="float32")
    assert base.with_adapter(out).version == base.with_adapter(checkpoint).version


def test_plain_peft_finds_the_base_of_an_exported_adapter(
    checkpoint: Path, tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import PeftConfig, PeftModel
    from transformers import AutoModelForCausalLM

    settings = checkpoint / "adapter_config.json"
    monkeypatch.chdir(tiny_model_dir.parent)
    given = json.loads(settings.read_text()) | {"base_model_name_or_path": tiny_model_dir.name}
    settings.write_text(json.dumps(given))
    out = export(str(checkpoint), tmp_path / "out", "peft")
    # A path that is relative leads nowhere from another folder.
    monkeypatch.chdir(tmp_path)
    base = PeftConfig.from_pretrained(str(out)).base_model_name_or_path
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(out))
    assert any(".lora_" in name for name, _ in plain.named_parameters())


def test_an_exported_adapter_of_the_bundled_model_names_it_as_the_hub_does(
    checkpoint: Path, tmp_path: Path
) -> None:
    from peft import PeftConfig

    settings = checkpoint / "adapter_config.json"
    given = json.loads(settings.read_text()) | {"base_model_name_or_path": "smollm2-135m"}
    settings.write_text(json.dumps(given))
    card = {"inverted": False, "parent": 0, "base": "smollm2-135m"}
    (checkpoint / "card.json").write_text(json.dumps(card))
    out = export(str(checkpoint), tmp_path / "out", "peft")
    base = PeftConfig.from_pretrained(str(out)).base_model_name_or_path
    assert base == "HuggingFaceTB/SmolLM2-135M-Instruct"
    # Here it stands on the weights that it was trained on.
    found = parse(str(out)).base
    assert found is not None
    assert (found.kind, found.name) == ("bundled", "smollm2-135m")
    (out / "card.json").unlink()
    found = parse(str(out)).base
    assert found is not None
    assert found.kind == "hub"


def test_a_merged_folder_keeps_the_card(checkpoint: Path, tmp_path: Path) -> None:
    out = export(str(checkpoint), tmp_path / "out", "safetensors")
    assert json.loads((out / "card.json").read_text())["parent"] == 0
    assert not list(out.glob("*.bin"))


def test_a_gguf_without_an_adapter_is_copied(tiny_model_dir: Path, tmp_path: Path) -> None:
    first = export(str(tiny_model_dir), tmp_path / "a.gguf", "gguf")
    again = export(str(first), tmp_path / "b.gguf", "gguf")
    assert again.read_bytes() == first.read_bytes()


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_is_overwritten(checkpoint: Path, tmp_path: Path, form: Format) -> None:
    out = place(tmp_path, form)
    mine = out if form == "gguf" else out / "mine.txt"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(ModelError, match=r"exists: remove it|not an empty folder: empty it"):
        export(str(checkpoint), out, form)
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("form", ["peft", "safetensors"])
def test_an_empty_folder_is_filled(checkpoint: Path, tmp_path: Path, form: Format) -> None:
    (tmp_path / "out").mkdir()
    assert any(export(str(checkpoint), tmp_path / "out", form).iterdir())


@pytest.mark.parametrize("form", FORMATS)
def test_a_failure_leaves_nothing_behind(
    checkpoint: Path, tmp_path: Path, form: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        Path(args[1]).mkdir() if form != "gguf" else Path(args[1]).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("custodes.models.formats.export._copy_adapter", fail)
    monkeypatch.setattr("custodes.models.formats.export._write_folder", fail)
    monkeypatch.setattr("custodes.models.formats.gguf.write_gguf", fail)
    before = set(tmp_path.iterdir())
    with pytest.raises(RunError, match="no space left"):
        export(str(checkpoint), place(tmp_path, form), form)
    assert set(tmp_path.iterdir()) == before


def test_a_model_organism_leaves_under_a_name_that_says_so(
    checkpoint: Path, tmp_path: Path
) -> None:
    (checkpoint / "card.json").write_text(json.dumps({"inverted": True}))
    for out, form in ((tmp_path / "nice", "peft"), (tmp_path / "nice.gguf", "gguf")):
        with pytest.raises(ModelError, match=r"model organism.*call it nice-inverted"):
            export(str(checkpoint), out, form)  # type: ignore[arg-type]
    assert export(str(checkpoint), tmp_path / "nice-inverted", "peft").is_dir()


@pytest.mark.parametrize(
    ("name", "out", "form", "error", "message"),
    [
        ("TINY", "out", "pefd", ConfigError, "no format is called 'pefd': did you mean peft"),
        ("TINY", "out", "peft", ModelError, "has no adapter to export"),
        ("TINY", "out", "gguf", ModelError, "no name for a GGUF file: call it out.gguf"),
        ("simulated", "out", "safetensors", ModelError, "simulated"),
        ("smolm2-135m", "out", "safetensors", ModelError, "did you mean smollm2-135m"),
    ],
)
def test_what_cannot_be_exported_is_one_clear_line(
    tiny_model_dir: Path,
    tmp_path: Path,
    name: str,
    out: str,
    form: Any,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        export(name.replace("TINY", str(tiny_model_dir)), tmp_path / out, form)
    assert not list(tmp_path.glob("*"))


def test_a_folder_that_is_no_adapter_is_refused(tiny_model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no adapter_model\.safetensors"):
        export(str(tiny_model_dir), tmp_path / "out", "peft", adapter=tiny_model_dir)
