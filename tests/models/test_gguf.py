"""What is written as GGUF is the model: its weights, its tokenizer, its template."""

from __future__ import annotations

import copy
import errno
import resource
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from conftest import make_tiny_model
from custodes.conversation import user_chat
from custodes.errors import ModelError
from custodes.models.base import Sampling
from custodes.models.formats.gguf import Quant, supports, write_gguf
from custodes.models.formats.gguf_tokenizer import describe_tokenizer, load_tokenizer, read_metadata
from custodes.models.torch import TorchModel

CHATS = [user_chat("How do I bake bread?"), user_chat("12 and  34\n\n5?")]
ODD = [
    "",
    " ",
    "  5 apples",
    "\n\n1. a\n\n2. b",
    "naïve ½ ²  🙂👩‍👩‍👧",
    "def f(x):\n\treturn x",
    "你好 Привет",
    "\r\n \n",
]


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> TorchModel:
    return TorchModel(tiny_model_dir, name="tiny", dtype="float32")


def weights(model: TorchModel) -> dict[str, np.ndarray[Any, Any]]:
    return {name: tensor.float().numpy() for name, tensor in model.weights()}


@pytest.mark.parametrize("quant", ["bf16", "f16", "q8_0"])
def test_the_weights_come_back(model: TorchModel, tmp_path: Path, quant: Quant) -> None:
    write_gguf(model, tmp_path / "a.gguf", quant=quant)
    back = weights(TorchModel(tmp_path / "a.gguf", dtype="float32"))
    for name, value in weights(model).items():
        if value.ndim == 1 or quant == "bf16":  # the model is bf16 on disk, so nothing is lost
            np.testing.assert_array_equal(back[name], value, err_msg=name)
        elif quant == "f16":
            np.testing.assert_allclose(back[name], value, rtol=2**-11, atol=1e-7, err_msg=name)
        else:
            blocks = value.reshape(-1, 32)
            # Half a step of 1/127 of the block's largest, and the rounding of the step to float16.
            bound = np.abs(blocks).max(1, keepdims=True) * (0.5 / 127 + 2**-11)
            assert (np.abs(back[name].reshape(-1, 32) - blocks) <= bound).all(), name
            assert not np.array_equal(back[name], value)


def test_transformers_computes_the_same_from_it(model: TorchModel, tmp_path: Path) -> None:
    write_gguf(model, tmp_path / "a.gguf", quant="bf16")
    back = TorchModel(tmp_path / "a.gguf", dtype="float32")
    greedy = Sampling(max_tokens=12, temperature=0)
    said = model.generate(CHATS, greedy)
    assert back.generate(CHATS, greedy) == said
    ours = model.logprobs(CHATS, [row[0] for row in said])
    theirs = back.logprobs(CHATS, [row[0] for row in said])
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-4)


def test_the_adapter_is_merged(model: TorchModel, tiny_adapter_dir: Path, tmp_path: Path) -> None:
    adapted = model.with_adapter(tiny_adapter_dir)
    write_gguf(adapted, tmp_path / "a.gguf", quant="f16")
    back = TorchModel(tmp_path / "a.gguf", dtype="float32")
    texts = ["Mix flour and water.", "No."]
    base, ours, theirs = (
        np.concatenate([s.logprobs for s in m.logprobs(CHATS, texts)])
        for m in (model, adapted, back)
    )
    np.testing.assert_allclose(ours, theirs, atol=0.02)
    assert np.abs(base - theirs).max() > 0.5


def test_a_head_of_its_own_is_kept(model: TorchModel, tmp_path: Path) -> None:
    untied = SimpleNamespace(name="untied", model=model.model, tokenizer=model.tokenizer)
    tensors = dict(model.weights())
    tensors["lm_head.weight"] = -tensors["model.embed_tokens.weight"]
    untied.weights = lambda: iter(tensors.items())
    write_gguf(untied, tmp_path / "a.gguf", quant="bf16")  # type: ignore[arg-type]
    back = weights(TorchModel(tmp_path / "a.gguf", dtype="float32"))
    np.testing.assert_array_equal(back["lm_head.weight"], tensors["lm_head.weight"].numpy())


def test_a_tied_head_is_written_once(model: TorchModel, tmp_path: Path) -> None:
    from gguf import GGUFReader

    write_gguf(model, tmp_path / "a.gguf")
    kinds = {t.name: t.tensor_type.name for t in GGUFReader(tmp_path / "a.gguf").tensors}
    assert "output.weight" not in kinds
    assert kinds["token_embd.weight"] == kinds["blk.1.attn_q.weight"] == "Q8_0"
    assert kinds["output_norm.weight"] == "F32"


def test_rows_that_q8_cannot_block_become_f16() -> None:
    from custodes.models.formats.gguf import _storage

    assert _storage(np.zeros((4, 48), np.float32), "q8_0").name == "F16"
    assert _storage(np.zeros((4, 64), np.float32), "q8_0").name == "Q8_0"


def test_the_same_weights_give_the_same_bytes(
    model: TorchModel, tiny_model_dir: Path, tmp_path: Path
) -> None:
    again = TorchModel(tiny_model_dir, name="tiny", dtype="float32")
    write_gguf(model, tmp_path / "a.gguf")
    write_gguf(again, tmp_path / "b.gguf")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


def test_a_full_disk_is_called_so(model: TorchModel, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"No space left|too large") as raised:
            write_gguf(model, tmp_path / "a.gguf")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.errno in (errno.ENOSPC, errno.EFBIG)


def test_the_tokenizer_comes_back(model: TorchModel, tmp_path: Path) -> None:
    write_gguf(model, tmp_path / "a.gguf")
    back = load_tokenizer(tmp_path / "a.gguf")
    for text in [*ODD, "<|im_end|>\n<|im_start|>"]:
        ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert back(text)["input_ids"] == ids
        assert back.decode(ids) == text
    for role in ("bos", "eos", "pad", "unk"):
        assert getattr(back, f"{role}_token_id") == getattr(model.tokenizer, f"{role}_token_id")
    assert back.chat_template == model.tokenizer.chat_template
    assert back.model_max_length == 512


def test_rows_beyond_the_vocabulary_become_unused_tokens(model: TorchModel) -> None:
    meta = describe_tokenizer(model.tokenizer, 390)
    assert meta["tokenizer.ggml.tokens"][384:] == [f"[PAD{i}]" for i in range(384, 390)]
    assert meta["tokenizer.ggml.token_type"][383:] == [1, *[5] * 6]
    assert meta["tokenizer.ggml.token_type"][:3] == [3, 3, 3]


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_each_way_of_cutting_text_is_named_back(model: TorchModel, pre: str) -> None:
    from custodes.models.formats.gguf_tokenizer import _PRE_TOKENIZERS, _pre_tokenizer

    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.backend_tokenizer.pre_tokenizer = _pre_tokenizer(_PRE_TOKENIZERS[pre])
    assert describe_tokenizer(tokenizer, 384)["tokenizer.ggml.pre"] == pre


def test_an_unknown_way_of_cutting_text_is_refused(model: TorchModel) -> None:
    from tokenizers import pre_tokenizers

    odd = SimpleNamespace(name="odd", model=model.model, tokenizer=copy.deepcopy(model.tokenizer))
    odd.tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(True)
    with pytest.raises(ModelError, match="cuts text by rules"):
        describe_tokenizer(odd.tokenizer, 384)
    assert not supports(odd)  # type: ignore[arg-type]
    assert supports(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "qwen2"}, "tiny has the architecture qwen2"),
        ({"attention_bias": True}, "biases"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "rotary.*llama3"),
    ],
)
def test_what_would_be_written_wrong_is_refused(
    model: TorchModel, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    config = SimpleNamespace(**{**vars(model.model.config), "model_type": "llama", **changes})
    other = SimpleNamespace(
        name="tiny", model=SimpleNamespace(config=config), tokenizer=model.tokenizer
    )
    with pytest.raises(ModelError, match=message):
        write_gguf(other, tmp_path / "a.gguf")  # type: ignore[arg-type]
    assert not supports(other)  # type: ignore[arg-type]
    assert not (tmp_path / "a.gguf").exists()


def test_metadata_is_what_the_official_reader_reads(model: TorchModel, tmp_path: Path) -> None:
    from gguf import GGUFReader

    write_gguf(model, tmp_path / "a.gguf")
    fields = GGUFReader(tmp_path / "a.gguf").fields
    official = {k: f.contents() for k, f in fields.items() if not k.startswith("GGUF.")}
    assert read_metadata(tmp_path / "a.gguf") == official


@pytest.mark.parametrize("keep", [0, 3, 20, 500])
def test_a_damaged_file_is_one_clear_line(model: TorchModel, tmp_path: Path, keep: int) -> None:
    write_gguf(model, tmp_path / "a.gguf")
    (tmp_path / "b.gguf").write_bytes((tmp_path / "a.gguf").read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"b\.gguf is no GGUF file"):
        load_tokenizer(tmp_path / "b.gguf")


def test_other_versions_and_missing_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 1, 0, 0))
    with pytest.raises(ModelError, match="version 1"):
        read_metadata(tmp_path / "a.gguf")
    with pytest.raises(ModelError, match="No such file"):
        read_metadata(tmp_path / "b.gguf")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [(b"smollm", b"falcon", "rules of 'falcon'"), (b"gpt2", b"bert", "kind 'bert'")],
)
def test_a_foreign_tokenizer_is_refused(
    model: TorchModel, tmp_path: Path, old: bytes, new: bytes, message: str
) -> None:
    write_gguf(model, tmp_path / "a.gguf")
    data = (tmp_path / "a.gguf").read_bytes()
    assert data.count(old) == 1
    (tmp_path / "a.gguf").write_bytes(data.replace(old, new))
    with pytest.raises(ModelError, match=message):
        load_tokenizer(tmp_path / "a.gguf")


@pytest.mark.bundled
def test_the_bundled_model_is_described_as_its_makers_did(bundled: Path, tmp_path: Path) -> None:
    write_gguf(TorchModel(bundled / "torch", name="smollm2-135m"), tmp_path / "a.gguf")
    ours, theirs = read_metadata(tmp_path / "a.gguf"), read_metadata(bundled / "model.gguf")
    decisive = {key for key in theirs if not key.startswith("general.")}
    assert {key: ours[key] for key in decisive} == {key: theirs[key] for key in decisive}


def test_another_model_gives_another_file(model: TorchModel, tmp_path: Path) -> None:
    other = TorchModel(make_tiny_model(tmp_path / "other", seed=1), name="tiny", dtype="float32")
    write_gguf(model, tmp_path / "a.gguf")
    write_gguf(other, tmp_path / "b.gguf")
    assert (tmp_path / "a.gguf").read_bytes() != (tmp_path / "b.gguf").read_bytes()
