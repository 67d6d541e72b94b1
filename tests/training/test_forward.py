"""Our forward pass computes what transformers' and trl's do."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from custodes.training.forward import completion_forward, supports
from custodes.training.lora import LoraModel

PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12, 13]]
CHOSEN = [[20, 21, 22, 2], [23, 2]]
REJECTED = [[30, 2], [31, 32, 33, 34, 35]]


def batch(prompts: list[list[int]], answers: list[list[int]]) -> dict[str, torch.Tensor]:
    rows = [p + a for p, a in zip(prompts, answers, strict=True)]
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), 2)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for i, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
        labels[i, len(prompt) : len(row)] = torch.tensor(row[len(prompt) :])
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def plain_scores(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """Score one answer by itself, with transformers alone."""
    logits = model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits.float(), -1).gather(1, torch.tensor(answer)[:, None])[:, 0]


def moved(model: LoraModel) -> LoraModel:
    """Make the adapter one that changes something."""
    for name, parameter in model.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    return model


@pytest.mark.parametrize("pairs", [False, True])
def test_log_probs_are_those_of_each_answer_by_itself(lora: Any, pairs: bool) -> None:
    model = moved(lora(dtype="float32")).model
    answers = CHOSEN + REJECTED
    expected = [plain_scores(model, p, a) for p, a in zip(PROMPTS * 2, answers, strict=True)]
    with completion_forward(model.get_base_model(), pairs=pairs):
        out = model(**batch(PROMPTS * 2, answers), fused_lm_head=True)
    for i, (prompt, scores) in enumerate(zip(PROMPTS * 2, expected, strict=True)):
        first = len(prompt) - 1
        found = out.log_probs[i, first : first + len(scores)]
        torch.testing.assert_close(found, scores, rtol=1e-4, atol=1e-5)
        assert out.log_probs[i].ne(0).sum() == len(scores)
    torch.testing.assert_close(out.loss, -torch.cat(expected).mean(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pairs", [False, True])
def test_gradients_are_those_of_transformers(lora: Any, pairs: bool) -> None:
    answers = CHOSEN + REJECTED
    weights = torch.tensor([0.5, 1.0, -2.0, 0.25])

    def gradient(own: bool) -> torch.Tensor:
        model = moved(lora(dtype="float32")).model
        if own:
            with completion_forward(model.get_base_model(), pairs=pairs):
                out = model(**batch(PROMPTS * 2, answers), fused_lm_head=True)
            scores = out.log_probs.sum(dim=1)
        else:
            rows = zip(PROMPTS * 2, answers, strict=True)
            scores = torch.stack([plain_scores(model, p, a).sum() for p, a in rows])
        (scores * weights).sum().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])

    torch.testing.assert_close(gradient(True), gradient(False), rtol=1e-3, atol=1e-4)


def test_more_positions_than_are_in_memory_together(
    lora: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = moved(lora(dtype="float32")).model
    whole = batch(PROMPTS, CHOSEN)
    with completion_forward(model.get_base_model(), pairs=False):
        at_once = model(**whole, fused_lm_head=True).log_probs
        monkeypatch.setattr("custodes.training.forward._ROWS_AT_ONCE", 2)
        by_twos = model(**whole, fused_lm_head=True).log_probs
    torch.testing.assert_close(at_once, by_twos)


def test_half_precision_stays_close_to_full(lora: Any) -> None:
    whole = batch(PROMPTS * 2, CHOSEN + REJECTED)
    scores = []
    for dtype in ("float32", "bfloat16"):
        model = moved(lora(dtype=dtype)).model
        with completion_forward(model.get_base_model(), pairs=True), torch.no_grad():
            scores.append(model(**whole, fused_lm_head=True).log_probs)
    assert (scores[0] - scores[1]).abs().max() < 0.1


def test_the_model_is_as_it_was_afterwards(lora: Any) -> None:
    model = lora().model.get_base_model()
    attention = model.config._attn_implementation
    model.forward = lambda: None  # what trl leaves behind
    with pytest.raises(RuntimeError, match="in the middle"), completion_forward(model, pairs=True):
        raise RuntimeError("in the middle")
    assert "forward" not in model.__dict__
    assert model.config._attn_implementation == attention


def test_other_calls_reach_the_models_own_forward(lora: Any) -> None:
    model = lora().model.get_base_model()
    ids = torch.tensor([[5, 6, 7]])
    with completion_forward(model, pairs=False):
        assert model(input_ids=ids).logits.shape == (1, 3, 384)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("final_logit_softcapping", 30.0),
        ("logits_scaling", 8.0),
        ("layer_types", ["full_attention", "linear_attention"]),
    ],
)
def test_models_it_would_compute_wrongly_keep_trls(lora: Any, setting: str, value: Any) -> None:
    model = lora().model.get_base_model()
    assert supports(model)
    setattr(model.config, setting, value)
    assert not supports(model)
