"""What is asked of vLLM, with a stand-in: no GPU is at hand where these tests run."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from custodes.errors import ModelError
from custodes.models import resolve
from custodes.models import vllm as engine
from custodes.models.formats.weights import load_weights
from custodes.testing import language_model_contract


class Parameters(SimpleNamespace):
    pass


def limit(one: Parameters) -> range:
    return range(one.max_tokens)


class StandIn:
    """Writes token ids that depend on the request's seed and prompt, as vLLM's API has them."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, *, model: str, **options: Any) -> None:
        self.options = options
        self.tokenizer = load_weights(Path(model), "float32")[1]

    def get_tokenizer(self) -> Any:
        return self.tokenizer

    def generate(
        self,
        prompts: Sequence[dict[str, list[int]]],
        parameters: Sequence[Parameters],
        *,
        lora_request: Any,
        use_tqdm: bool,
    ) -> list[Any]:
        assert len(prompts) == len(parameters)
        self.asked.append({"lora": lora_request, "parameters": parameters})
        results = []
        for prompt, one in zip(prompts, parameters, strict=True):
            ids = prompt["prompt_token_ids"]
            start = sum(ids) if one.temperature == 0 else one.seed
            outputs = [
                SimpleNamespace(
                    token_ids=[
                        20 + (start + k * 7 + i * (k + 3)) % 60 for i in range(one.max_tokens)
                    ]
                )
                for k in range(one.n)
            ]
            results.append(SimpleNamespace(outputs=outputs))
        return results


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module, lora = ModuleType("vllm"), ModuleType("vllm.lora")
    request = ModuleType("vllm.lora.request")
    module.LLM, module.SamplingParams = StandIn, Parameters  # type: ignore[attr-defined]
    request.LoRARequest = lambda *fields: fields  # type: ignore[attr-defined]
    for name, one in (("vllm", module), ("vllm.lora", lora), ("vllm.lora.request", request)):
        monkeypatch.setitem(sys.modules, name, one)
    engine._load.cache_clear()
    StandIn.asked.clear()
    yield
    engine._load.cache_clear()


def test_it_keeps_the_contract(tiny_model_dir: Path) -> None:
    model = resolve.load(str(tiny_model_dir), engine="vllm")
    assert model.engine == "vllm"
    language_model_contract(model)


def test_an_adapter_is_a_request_of_its_own_and_the_base_is_loaded_once(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    (tmp_path / "adapter_config.json").write_text("{}")
    base = resolve.load(str(tiny_model_dir), engine="vllm")
    tuned = resolve.load(str(tiny_model_dir), engine="vllm", adapter=tmp_path)
    assert tuned.version != base.version
    assert tuned._engine is base._engine  # type: ignore[attr-defined]
    assert tuned._engine.options["enable_lora"]  # type: ignore[attr-defined]
    for model in (base, tuned):
        model.generate([[{"role": "user", "content": "hello"}]], engine.Sampling(max_tokens=4))
    bare, request = (row["lora"] for row in StandIn.asked)
    assert bare is None
    name, number, path = request
    assert (name, path) == (tuned.version, str(tmp_path))
    assert number > 0


def test_without_vllm_it_says_so(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ModelError, match=r"vLLM is not installed: pip install 'custodes\[vllm\]'"):
        resolve.load(str(tiny_model_dir), engine="vllm")


@pytest.mark.parametrize(("cuda", "served"), [(True, "torch"), (False, "openvino")])
def test_auto_prefers_a_gpu(monkeypatch: pytest.MonkeyPatch, cuda: bool, served: str) -> None:
    monkeypatch.setattr(resolve, "has_cuda", lambda: cuda)
    monkeypatch.setattr(resolve, "find_spec", lambda _: object())
    monkeypatch.setattr(resolve, "load_torch", lambda *_, **__: SimpleNamespace(engine="torch"))
    monkeypatch.setattr(
        resolve, "_load_openvino", lambda *_, **__: SimpleNamespace(engine="openvino")
    )
    assert resolve.load("smollm2-135m").engine == served
