"""The torch engine against plain transformers: what it samples, scores and reads."""

from __future__ import annotations

import gc
import json
import shutil
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import make_tiny_adapter
from custodes.conversation import Chat, user_chat
from custodes.errors import ModelError
from custodes.models.base import Sampling, ScoringModel
from custodes.models.decode import _choose, batches
from custodes.models.torch import TorchModel

CHATS: list[Chat] = [
    user_chat("How do I bake bread?"),
    user_chat("Hi", system="You are a clerk who answers at length and never tires of it."),
    [*user_chat("Hello."), {"role": "assistant", "content": "Hello!"}, *user_chat("A poem?")],
    user_chat("\n\nodd 🙂 12 <|im_end|>"),
]
ANSWERS = ["Mix flour and water.", "", "The sea is wide 🙂", "<|im_end|> no"]
TALKS: list[Chat] = [
    [*chat, {"role": "assistant", "content": answer}]
    for chat, answer in zip(CHATS, ANSWERS, strict=True)
]


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> TorchModel:
    return TorchModel(tiny_model_dir, name="tiny", dtype="float32")


def prompt_ids(model: TorchModel, chat: Chat) -> torch.Tensor:
    """Ids of an ordinary chat, by transformers' own call."""
    ids = model.tokenizer.apply_chat_template(
        list(chat), add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    assert isinstance(ids, torch.Tensor)
    return ids


def test_it_is_a_scoring_model(model: TorchModel) -> None:
    assert isinstance(model, ScoringModel)


# Sampling


def test_greedy_is_transformers_greedy(model: TorchModel) -> None:
    (text,) = model.generate(CHATS[:1], Sampling(max_tokens=20, temperature=0))[0]
    ids = prompt_ids(model, CHATS[0])
    for _ in range(20):  # without a cache
        ids = torch.cat([ids, model.model(ids).logits[:, -1:].argmax(-1)], dim=-1)
    assert text == model.tokenizer.decode(ids[0, -20:], skip_special_tokens=True)


def test_a_draw_does_not_depend_on_the_batch(model: TorchModel) -> None:
    sampling = Sampling(max_tokens=16, temperature=1.0, top_p=0.95, n=3)
    together = model.generate(CHATS, sampling)
    assert together == [model.generate([chat], sampling)[0] for chat in CHATS]
    one = model.generate(CHATS, Sampling(max_tokens=16, temperature=1.0, top_p=0.95, n=1))
    assert [row[:1] for row in together] == one


def test_small_batches_sample_what_one_batch_does(
    model: TorchModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = Sampling(max_tokens=8, temperature=1.0, n=2)
    whole = model.generate(CHATS, sampling)
    monkeypatch.setattr("custodes.models.decode._BUDGET", {"cpu": 1})
    assert model.generate(CHATS, sampling) == whole


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 0.8), (1.0, 0.3)])
def test_tokens_are_drawn_with_their_probabilities(temperature: float, top_p: float) -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, 1.5, -torch.inf])
    grid = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    sampling = Sampling(temperature=temperature, top_p=top_p)
    chosen = _choose(logits.expand(len(grid), -1), grid, sampling)
    drawn = torch.bincount(chosen, minlength=6) / len(grid)

    expected = torch.softmax(logits / temperature, dim=0)
    order = expected.argsort(descending=True)
    needed = 1 + int((expected[order].cumsum(0) < top_p - 1e-6).sum())
    expected[order[needed:]] = 0
    torch.testing.assert_close(drawn, expected / expected.sum(), atol=1e-4, rtol=0)


def test_no_draw_falls_outside_the_distribution() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf]]).repeat(2, 1)
    edges = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert _choose(logits, edges, Sampling(temperature=1.0)).tolist() == [1, 1]


def test_a_completion_ends_at_its_end_of_turn(model: TorchModel) -> None:
    """Rows that have ended leave the batch, and the others go on as if nothing had been."""
    sampling = Sampling(max_tokens=16, temperature=1.0, n=8)
    free = model.generate(CHATS, sampling)
    first = model.tokenizer("e", add_special_tokens=False)["input_ids"]
    model._base.ends |= set(first)
    try:
        before = model.usage.completion_tokens
        ended = model.generate(CHATS, sampling)
    finally:
        model._base.ends -= set(first)
    lengths = [len(text) for row in ended for text in row]
    assert len(set(lengths)) > 4
    assert model.usage.completion_tokens - before < 16 * 8 * len(CHATS)
    for was, now in zip(chain(*free), chain(*ended), strict=True):
        assert was.startswith(now.rstrip("\ufffd"))


def test_the_callers_randomness_and_mode_are_left_alone(model: TorchModel) -> None:
    state = torch.random.get_rng_state()
    model.model.train()
    model.generate(CHATS[:1], Sampling(max_tokens=2))
    assert model.model.training
    assert torch.equal(torch.random.get_rng_state(), state)
    model.model.eval()


def test_a_prompt_without_room_is_refused(model: TorchModel) -> None:
    with pytest.raises(ModelError, match=r"chat 1 needs \d+ tokens, tiny has room for 512"):
        model.generate([user_chat("x"), user_chat("word " * 400)], Sampling(max_tokens=4))


def test_batches_keep_to_their_budget() -> None:
    lengths = [3, 9, 1, 7, 7, 2, 30]
    parts = list(batches(lengths, 20))
    assert sorted(i for part in parts for i in part) == list(range(7))
    assert all(len(p) == 1 or len(p) * max(lengths[i] for i in p) <= 20 for p in parts)


# Scores


def test_logprobs_are_those_of_a_plain_forward_pass(model: TorchModel) -> None:
    (scored,) = model.logprobs(CHATS[:1], ANSWERS[:1])
    prompt = prompt_ids(model, CHATS[0])
    answer = model.tokenizer(ANSWERS[0], add_special_tokens=False, return_tensors="pt")["input_ids"]
    logits = model.model(torch.cat([prompt, answer], dim=-1)).logits[0, prompt.shape[1] - 1 : -1]
    told = torch.log_softmax(logits, -1).gather(-1, answer[0, :, None])[:, 0]
    np.testing.assert_allclose(scored.logprobs, told.detach().numpy(), atol=1e-4)
    assert scored.total == pytest.approx(float(told.sum()), abs=1e-3)


@pytest.mark.parametrize("text", [*ANSWERS, "\x00\x1b[31m", "e\u0301 👩‍👩‍👧", " \n\n5"])
def test_tokens_join_to_the_completion(model: TorchModel, text: str) -> None:
    (scored,) = model.logprobs(CHATS[:1], [text])
    assert "".join(scored.tokens) == text
    assert scored.logprobs.shape == (len(scored.tokens),)
    assert (scored.logprobs <= 0).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_scores_depend_on_neither_padding_nor_batching(model: TorchModel, side: str) -> None:
    model.tokenizer.padding_side = side
    batched = model.logprobs(CHATS, ANSWERS)
    states = model.hidden(TALKS, [0, 1, 2])
    for i in range(len(CHATS)):
        (alone,) = model.logprobs([CHATS[i]], [ANSWERS[i]])
        np.testing.assert_allclose(batched[i].logprobs, alone.logprobs, atol=1e-4)
        np.testing.assert_allclose(states[i], model.hidden([TALKS[i]], [0, 1, 2])[0], atol=1e-4)


def test_scores_of_bfloat16_are_those_of_float32_up_to_rounding(
    model: TorchModel, tiny_model_dir: Path
) -> None:
    rounded = TorchModel(tiny_model_dir, dtype="bfloat16")
    for ours, exact in zip(
        rounded.logprobs(CHATS, ANSWERS), model.logprobs(CHATS, ANSWERS), strict=True
    ):
        np.testing.assert_allclose(ours.logprobs, exact.logprobs, atol=0.2)


def test_hidden_pools_the_last_message(model: TorchModel) -> None:
    """Against transformers' hidden states and spans found by hand."""
    for chat, content in ((TALKS[0], ANSWERS[0]), (CHATS[0], CHATS[0][-1]["content"])):
        text = model.tokenizer.apply_chat_template(list(chat), tokenize=False)
        encoded = model.tokenizer(text, return_offsets_mapping=True, return_tensors="pt")
        start = text.rindex(content)
        inside = [
            a >= start and b <= start + len(content)
            for a, b in encoded["offset_mapping"][0].tolist()
        ]
        states = model.model(encoded["input_ids"], output_hidden_states=True).hidden_states
        pooled = model.hidden([chat], [2, 0, 1, -1])[0]
        for j, layer in enumerate([2, 0, 1, 2]):
            message = states[layer][0, torch.tensor(inside)].detach().numpy()
            np.testing.assert_allclose(pooled[j, 0], message.mean(0), atol=1e-4)
            np.testing.assert_allclose(pooled[j, 1], message[-1], atol=1e-4)


def test_hidden_has_a_row_for_an_empty_message_and_none_for_no_chat(model: TorchModel) -> None:
    states = model.hidden([user_chat("")], [1])
    assert states.shape == (1, 1, 2, 64)
    np.testing.assert_array_equal(states[0, 0, 0], states[0, 0, 1])
    assert model.hidden([], [1, 2]).shape == (0, 2, 2, 64)
    assert model.logprobs([], []) == []


def test_layers_above_are_not_computed(model: TorchModel) -> None:
    ran: list[int] = []
    blocks = model.model.get_decoder().layers
    hooks = [
        block.register_forward_hook(lambda *_, i=i: ran.append(i)) for i, block in enumerate(blocks)
    ]
    model.hidden(CHATS[:1], [1])
    model.hidden(CHATS[:1], [0])
    for hook in hooks:
        hook.remove()
    assert ran == [0]


def test_a_layer_that_is_not_there_is_refused(model: TorchModel) -> None:
    with pytest.raises(ModelError, match="no layer 3 in tiny: 0 to 2"):
        model.hidden(CHATS, [3])


# Adapters


def said(model: TorchModel) -> list[list[str]]:
    return model.generate(CHATS, Sampling(max_tokens=8, temperature=0))


def test_an_adapter_changes_the_answers_and_nothing_else(
    tiny_model_dir: Path, tiny_adapter_dir: Path, tmp_path: Path
) -> None:
    base = TorchModel(tiny_model_dir)
    before, scores = said(base), base.logprobs(CHATS, ANSWERS)
    first = base.with_adapter(tiny_adapter_dir)
    second = first.with_adapter(make_tiny_adapter(tiny_model_dir, tmp_path / "second", seed=1))
    assert len({base.version, first.version, second.version}) == 3
    answers = said(first)
    assert answers != before
    assert said(second) not in (before, answers)
    assert said(first) == answers == said(TorchModel(tiny_model_dir, adapter=tiny_adapter_dir))
    # The base is the base still, to the last bit, and takes no second place in memory.
    assert said(base) == before == said(second.with_adapter(None))
    for was, now in zip(scores, base.logprobs(CHATS, ANSWERS), strict=True):
        np.testing.assert_array_equal(was.logprobs, now.logprobs)
    assert first.model is base.model
    dtypes = {weight.dtype for name, weight in base.model.named_parameters() if ".lora_" in name}
    assert dtypes == {torch.float32}


def test_adapters_that_nobody_uses_are_dropped(
    tiny_model_dir: Path, tiny_adapter_dir: Path, tmp_path: Path
) -> None:
    base = TorchModel(tiny_model_dir)
    folders = [make_tiny_adapter(tiny_model_dir, tmp_path / str(i), seed=i) for i in (1, 2, 3)]
    kept = base.with_adapter(tiny_adapter_dir)
    answers, sizes = said(kept), []
    for folder in folders:
        said(base.with_adapter(folder))
        gc.collect()
        sizes.append(sum(w.numel() for n, w in base.model.named_parameters() if ".lora_" in n))
    assert len(set(sizes)) == 1
    assert said(kept) == answers


def test_merged_weights_are_the_adapted_model(tiny_model_dir: Path, tiny_adapter_dir: Path) -> None:
    adapted = TorchModel(tiny_model_dir, adapter=tiny_adapter_dir, dtype="float32")
    dense = TorchModel(tiny_model_dir, dtype="float32")
    merged = dict(adapted.weights())
    assert merged.keys() == dict(dense.weights()).keys()
    dense.model.load_state_dict(merged)
    for ours, theirs in zip(
        adapted.logprobs(CHATS, ANSWERS), dense.logprobs(CHATS, ANSWERS), strict=True
    ):
        np.testing.assert_allclose(ours.logprobs, theirs.logprobs, atol=1e-3)


def test_an_adapters_version_is_its_content(
    tiny_model_dir: Path, tiny_adapter_dir: Path, tmp_path: Path
) -> None:
    base = TorchModel(tiny_model_dir)
    moved = Path(shutil.copytree(tiny_adapter_dir, tmp_path / "moved"))
    settings = json.loads((moved / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = "elsewhere"
    (moved / "adapter_config.json").write_text(json.dumps(settings))
    version = base.with_adapter(tiny_adapter_dir).version
    assert base.with_adapter(moved).version == version
    settings["lora_alpha"] += 1
    (moved / "adapter_config.json").write_text(json.dumps(settings))
    assert base.with_adapter(moved).version != version


# Files


def broken(folder: Path, tiny: Path, what: str) -> Path:
    shutil.copytree(tiny, folder)
    weights = folder / "model.safetensors"
    if what == "pickle":
        weights.rename(folder / "pytorch_model.bin")
    elif what == "torn":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif what == "config":
        (folder / "config.json").write_text("{")
    elif what == "unknown":
        (folder / "config.json").write_text('{"model_type": "abacus"}')
    elif what == "headless":
        from safetensors.torch import load_file, save_file

        tensors = load_file(weights)
        del tensors["model.norm.weight"]
        save_file(tensors, weights, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("what", "cause"),
    [
        ("pickle", "has no .safetensors file"),
        ("torn", "is no model that transformers can load"),
        ("config", "is no model that transformers can load"),
        ("unknown", "is no model that transformers can load"),
        ("headless", "its weights lack model.norm.weight"),
    ],
)
def test_files_that_are_no_model_give_one_line(
    tiny_model_dir: Path, tmp_path: Path, what: str, cause: str
) -> None:
    with pytest.raises(ModelError, match=cause) as raised:
        TorchModel(broken(tmp_path / what, tiny_model_dir, what))
    assert "\n" not in str(raised.value)


def test_a_models_own_code_is_not_run(tiny_model_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    shutil.copytree(tiny_model_dir, folder)
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(
        "import pathlib; pathlib.Path(__file__).with_suffix('.ran').touch()"
    )
    with pytest.raises(ModelError):
        TorchModel(folder)
    assert not (folder / "own.ran").exists()


@pytest.mark.parametrize("missing", ["adapter_model.safetensors", "adapter_config.json"])
def test_an_adapter_that_is_none_gives_one_line(
    tiny_model_dir: Path, tiny_adapter_dir: Path, tmp_path: Path, missing: str
) -> None:
    folder = Path(shutil.copytree(tiny_adapter_dir, tmp_path / "half"))
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=missing):
        TorchModel(tiny_model_dir, adapter=folder)
