from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from custodes.conversation import Chat, user_chat
from custodes.diff.contrast.decoding import contrast, divergent_tokens
from custodes.errors import ConfigError
from custodes.models.base import Sampling
from custodes.models.chat import encode_chats
from custodes.models.torch import TorchModel

CHATS = [user_chat("What is the capital of France?"), user_chat("why?")]


def _adapter(base: Path, folder: Path, seed: int) -> Path:
    """Save a random LoRA that matters."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "up_proj"]))
    generator = torch.Generator().manual_seed(seed)
    for name, weight in tuned.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn(weight.shape, generator=generator) * 0.3
    tuned.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def models(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TorchModel]:
    folder = tmp_path_factory.mktemp("adapters")
    base = TorchModel(tiny_model_dir, dtype="float32")
    one = base.with_adapter(_adapter(tiny_model_dir, folder / "one", 1))
    two = base.with_adapter(_adapter(tiny_model_dir, folder / "two", 2))
    elsewhere = TorchModel(tiny_model_dir, adapter=folder / "two", dtype="float32")
    return {"base": base, "one": one, "two": two, "two elsewhere": elsewhere}


@pytest.mark.parametrize(("a", "b"), [("one", "two"), ("base", "two"), ("two", "base")])
def test_gaps_are_those_of_the_two_models_by_themselves(
    models: dict[str, TorchModel], a: str, b: str
) -> None:
    said = contrast(models[a], models[b], CHATS, cut=0.01, max_tokens=6)
    for chat, one in zip(CHATS, said, strict=True):
        log_a, log_b = (_scores(models[m], chat, one.ids) for m in (a, b))
        assert one.gaps == pytest.approx(log_b - log_a, abs=1e-3)
        assert np.abs(one.gaps).max() > 0.01


def _scores(model: TorchModel, chat: Chat, answer: tuple[int, ...]) -> np.ndarray:
    import torch

    (prompt,) = encode_chats(model.tokenizer, [chat])
    ids = torch.tensor([[*prompt, *answer]])
    with model._active(), torch.no_grad():
        told = torch.log_softmax(model.model(input_ids=ids).logits[0, len(prompt) - 1 : -1], -1)
    return told.gather(-1, ids[0, len(prompt) :, None])[:, 0].numpy()


def test_one_pass_gives_what_two_passes_give(models: dict[str, TorchModel]) -> None:
    together = contrast(models["one"], models["two"], CHATS, max_tokens=8)
    apart = contrast(models["one"], models["two elsewhere"], CHATS, max_tokens=8)
    assert [c.text for c in together] == [c.text for c in apart]
    for x, y in zip(together, apart, strict=True):
        assert x.gaps == pytest.approx(y.gaps, abs=1e-3)


def test_without_strength_it_is_what_b_writes(models: dict[str, TorchModel]) -> None:
    said = contrast(models["one"], models["two"], CHATS, strength=0, max_tokens=8)
    greedy = models["two"].generate(CHATS, Sampling(max_tokens=8, temperature=0))
    assert [c.text for c in said] == [texts[0] for texts in greedy]


def test_the_contrast_leans_away_from_a(models: dict[str, TorchModel]) -> None:
    plain = contrast(models["one"], models["two"], CHATS, strength=0, max_tokens=12)
    leaning = contrast(models["one"], models["two"], CHATS, strength=4, cut=1e-3, max_tokens=12)
    assert np.mean([c.gaps.mean() for c in leaning]) > np.mean([c.gaps.mean() for c in plain])
    back = contrast(models["two"], models["one"], CHATS, strength=4, cut=1e-3, max_tokens=12)
    assert [c.text for c in back] != [c.text for c in leaning]


def test_sampling_repeats_with_its_seed(models: dict[str, TorchModel]) -> None:
    runs = [
        contrast(models["one"], models["two"], CHATS, temperature=1.0, cut=1e-4, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert [c.text for c in runs[0]] == [c.text for c in runs[1]]
    assert [c.text for c in runs[0]] != [c.text for c in runs[2]]


def test_afterwards_the_models_are_as_before(models: dict[str, TorchModel]) -> None:
    before = [m.logprobs(CHATS, ["yes", "no"]) for m in models.values()]
    contrast(models["one"], models["base"], CHATS, max_tokens=2)
    after = [m.logprobs(CHATS, ["yes", "no"]) for m in models.values()]
    for x, y in zip(before, after, strict=True):
        assert all(np.array_equal(p.logprobs, q.logprobs) for p, q in zip(x, y, strict=True))


def test_divergent_tokens_come_in_their_context(models: dict[str, TorchModel]) -> None:
    rows = divergent_tokens(models["one"], models["two"], CHATS, ["Paris is", "because so"], 3)
    assert len(rows) == 3
    assert abs(rows[0].gap) >= abs(rows[1].gap) >= abs(rows[2].gap) > 0
    for row in rows:
        answer = ["Paris is", "because so"][row.chat]
        assert answer.startswith(row.before + row.token)


def test_numbers_out_of_range_are_refused(models: dict[str, TorchModel]) -> None:
    with pytest.raises(ConfigError, match="cut 0"):
        contrast(models["one"], models["two"], CHATS, cut=0)
