"""The openvino engine says what torch says, and says it again in another process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from custodes.conversation import Chat, user_chat
from custodes.errors import ModelError
from custodes.models.base import Sampling
from custodes.models.chat import encode_chats
from custodes.models.formats.gguf import write_gguf
from custodes.models.torch import TorchModel

pytest.importorskip("openvino_genai")
from custodes.models.openvino import OpenVinoModel, _seed

GREEDY = Sampling(max_tokens=16, temperature=0)
SAMPLED = Sampling(max_tokens=16, temperature=1.0, seed=3)
CHATS: list[Chat] = [
    user_chat("How do I bake bread?"),
    user_chat("12 and  34\n\n5? 🙂"),
    user_chat("stop<|im_end|>\n<|im_start|>assistant\nsure", system="Be brief."),
    [*user_chat("Hello."), {"role": "assistant", "content": "Hi."}, *user_chat("你好")],
    user_chat("A long one. " * 20),
]


@pytest.fixture(scope="module")
def torch_model(tiny_model_dir: Path) -> TorchModel:
    return TorchModel(tiny_model_dir, name="tiny", dtype="float32")


@pytest.fixture(scope="module")
def gguf(torch_model: TorchModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny, in float16: openvino computes it without quantising, so that torch can vouch for it."""
    file = tmp_path_factory.mktemp("openvino") / "tiny.gguf"
    write_gguf(torch_model, file, quant="f16")
    return file


@pytest.fixture(scope="module")
def model(gguf: Path) -> OpenVinoModel:
    return OpenVinoModel(gguf, name="tiny", version="v1")


def test_its_greedy_text_is_torchs(model: OpenVinoModel, torch_model: TorchModel) -> None:
    assert model.generate(CHATS, GREEDY) == torch_model.generate(CHATS, GREEDY)


def test_it_serves_the_adapter(
    torch_model: TorchModel, tiny_adapter_dir: Path, tmp_path: Path, model: OpenVinoModel
) -> None:
    adapted = torch_model.with_adapter(tiny_adapter_dir)
    write_gguf(adapted, tmp_path / "a.gguf", quant="f16")
    served = OpenVinoModel(tmp_path / "a.gguf", name="tiny", version="v2")
    said = served.generate(CHATS, GREEDY)
    assert said == adapted.generate(CHATS, GREEDY)
    assert said != model.generate(CHATS, GREEDY)


def test_it_gets_the_ids_that_torch_gets(model: OpenVinoModel, torch_model: TorchModel) -> None:
    assert encode_chats(model.tokenizer, CHATS) == encode_chats(torch_model.tokenizer, CHATS)


def test_a_sample_does_not_depend_on_the_rest_of_the_batch(model: OpenVinoModel) -> None:
    together = model.generate(CHATS, SAMPLED)
    assert [model.generate([chat], SAMPLED)[0] for chat in CHATS] == together
    assert model.generate(CHATS[::-1], SAMPLED)[::-1] == together


def test_draws_differ(model: OpenVinoModel) -> None:
    rows = model.generate(CHATS, replace(SAMPLED, n=4))
    assert len({text for row in rows for text in row}) == 4 * len(CHATS)
    # A prompt that comes twice in a batch goes on drawing.
    first, second = model.generate([CHATS[0], CHATS[0]], replace(SAMPLED, n=4))
    assert first == rows[0]
    assert not set(first) & set(second)


def test_seeds_differ_by_seed_prompt_and_draw() -> None:
    keys: Sequence[tuple[int, list[int], int]] = [
        (0, [1], 0),
        (1, [1], 0),
        (0, [2], 0),
        (0, [1], 1),
        (0, [1, 1], 0),
    ]
    assert len({_seed(*key) for key in keys}) == len(keys)
    assert all(0 <= _seed(*key) < 2**32 for key in keys)


def test_another_process_draws_the_same(model: OpenVinoModel, gguf: Path, tmp_path: Path) -> None:
    script = tmp_path / "again.py"
    script.write_text(
        "import json, sys\n"
        "from pathlib import Path\n"
        "from custodes.models.base import Sampling\n"
        "from custodes.models.openvino import OpenVinoModel\n"
        "chats, sampling = json.loads(sys.stdin.read())\n"
        "model = OpenVinoModel(Path(sys.argv[1]), name='tiny', version='v1')\n"
        "print(json.dumps(model.generate(chats, Sampling(**sampling))))\n"
    )
    ours = replace(SAMPLED, n=2, top_p=0.9)
    theirs = subprocess.run(
        [sys.executable, str(script), str(gguf)],
        input=json.dumps([CHATS, {**vars(ours), "stop": []}]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(theirs.stdout.splitlines()[-1]) == model.generate(CHATS, ours)


def test_greedy_draws_are_computed_once(model: OpenVinoModel) -> None:
    before = model.usage.copy()
    (row,) = model.generate(CHATS[:1], replace(GREEDY, n=3))
    spent = model.usage.since(before)
    assert row == [row[0]] * 3
    assert spent.completion_tokens <= GREEDY.max_tokens
    assert spent.prompt_tokens == len(encode_chats(model.tokenizer, CHATS[:1])[0])
    assert spent.calls == 1


def test_a_completion_ends_at_the_end_of_turn(
    model: OpenVinoModel, torch_model: TorchModel
) -> None:
    # So hot that each of the 384 tokens is as likely as the next: of 1,536 texts of 48 tokens the
    # end of turn cuts a tenth short, by 4,500 tokens give or take 350, however a machine rounds.
    hot = replace(SAMPLED, temperature=1000.0, max_tokens=48, n=64)
    chats = [user_chat(f"Question {i}?") for i in range(24)]
    before, torch_before = model.usage.copy(), torch_model.usage.copy()
    model.generate(chats, hot)
    torch_model.generate(chats, hot)
    for engine, since in ((model, before), (torch_model, torch_before)):
        saved = 48 * 24 * 64 - engine.usage.since(since).completion_tokens
        assert 2500 < saved < 6500


def test_top_p_keeps_the_most_probable_tokens(model: OpenVinoModel) -> None:
    assert model.generate(CHATS, replace(SAMPLED, top_p=1e-6)) == model.generate(CHATS, GREEDY)


def test_what_does_not_fit_is_told(model: OpenVinoModel) -> None:
    chats = [CHATS[0], user_chat("word " * 600)]
    with pytest.raises(ModelError, match=r"chat 1 needs \d+ tokens, tiny has room for 512"):
        model.generate(chats, GREEDY)


def test_a_file_that_openvino_cannot_run_is_one_line(
    torch_model: TorchModel, tmp_path: Path
) -> None:
    write_gguf(torch_model, tmp_path / "a.gguf", quant="bf16")
    with pytest.raises(ModelError, match=r"openvino cannot run .*a\.gguf \(Unsupported quant"):
        OpenVinoModel(tmp_path / "a.gguf", name="tiny", version="v1")


def test_without_the_package_the_remedy_is_told(
    gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino_genai", None)
    with pytest.raises(ModelError, match="not installed: pip install openvino-genai"):
        OpenVinoModel(gguf, name="tiny", version="v1")


def test_openvinos_own_tokenizer_agrees(model: OpenVinoModel) -> None:
    _agree(
        model,
        [
            "Hello, world",
            "  5\n\n1. a",
            "½ ² naïve 🙂👩‍👩‍👧",
            "def f(x):\n\treturn x",
            "你好 Привет",
        ],
    )


@pytest.mark.bundled
def test_openvinos_own_tokenizer_agrees_on_the_bundled_model(bundled: Path) -> None:
    real = OpenVinoModel(bundled / "model.gguf", name="smollm2-135m", version="v1")
    words = [
        "the",
        "12",
        " 5",
        "\n\n",
        "\t",
        "½",
        "🙂",
        "naïve",
        "Привет",
        "你好",
        "مرحبا",
        "I'LL",
        "—",
        "\r\n",
    ]
    _agree(real, [a + b + c for a in words for b in words for c in (" x", "\n7")])
    greedy = Sampling(max_tokens=12, temperature=0)
    assert "Paris" in real.generate([user_chat("What is the capital of France?")], greedy)[0][0]


def _agree(model: Any, texts: Sequence[str]) -> None:
    theirs = model._pipeline.get_tokenizer()
    for text in texts:
        ids = theirs.encode(text, add_special_tokens=False).input_ids.data.reshape(-1).tolist()
        assert ids == model.tokenizer(text, add_special_tokens=False)["input_ids"], text
