"""Adapters: put on, measured, saved to the byte, taken off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from custodes.errors import ModelError
from custodes.models.torch import TorchModel
from custodes.training.lora import LoraModel, LoraOptions, read_factors


def randomise(model: LoraModel, seed: int = 1) -> None:
    draws = torch.Generator().manual_seed(seed)
    for _, a, b, _ in model.matrices():
        a.data.normal_(std=0.1, generator=draws)
        b.data.normal_(std=0.1, generator=draws)


def dense(factors: Any) -> dict[str, torch.Tensor]:
    return {name: b @ a for name, (a, b) in factors.items()}


def test_a_new_adapter_changes_nothing_and_is_all_that_can_be_trained(lora: Any) -> None:
    model = lora()
    assert model.moved_from(None).total == 0.0
    names = [name for name, p in model.model.named_parameters() if p.requires_grad]
    assert names
    assert all("lora_" in name for name in names)
    assert model.trainable == sum(a.numel() + b.numel() for _, a, b, _ in model.matrices())


def test_it_is_on_every_linear_layer_but_the_head(lora: Any) -> None:
    names = set(lora().factors())
    assert len(names) == 2 * 7
    assert not any("head" in name or "embed" in name for name in names)


def test_the_base_is_half_precision_and_the_adapter_full(lora: Any) -> None:
    kinds = {p.requires_grad: p.dtype for p in lora().model.parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}


def test_moved_is_the_relative_norm_of_the_merged_change(lora: Any) -> None:
    model = lora()
    before = model.factors()
    randomise(model, 1)
    middle = model.factors()
    assert model.moved_from(middle).total < 1e-6
    randomise(model, 2)
    now = model.factors()
    weights = {
        name: module.get_base_layer().weight.double()
        for name, module in model.model.get_base_model().named_modules()
        if name in now
    }
    for reference in (before, middle):
        changes = {n: (dense(now)[n] - dense(reference)[n]).norm() for n in now}
        total = torch.stack(list(changes.values())).norm()
        base = torch.stack([w.norm() for w in weights.values()]).norm()
        each = {n: float(changes[n] / weights[n].norm()) for n in now}
        found = model.moved_from(reference)
        assert found.total == pytest.approx(float(total / base), rel=1e-5)
        assert found.largest == pytest.approx(max(each.values()), rel=1e-5)
        assert each[found.where] == max(each.values())


def test_weights_that_are_no_numbers_are_not_taken_for_unmoved(lora: Any) -> None:
    model = lora()
    before = model.factors()
    model.matrices()[3][2].data[0, 0] = float("nan")
    moved = model.moved_from(before)
    assert moved.total != moved.total
    assert moved.largest != moved.largest


def test_what_is_saved_is_read_back_to_the_bit(lora: Any, tmp_path: Path) -> None:
    model = lora()
    randomise(model)
    model.save(tmp_path / "a")
    again = lora(tmp_path / "a", seed=7)
    again.save(tmp_path / "b")
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert again.moved_from(model.factors()).total == 0.0
    assert again.moved_from(read_factors(tmp_path / "a")).total == 0.0
    assert again.trainable == model.trainable


def test_a_saved_adapter_is_safetensors_and_names_its_base(lora: Any, tmp_path: Path) -> None:
    lora().save(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny"
    assert config["target_modules"] == sorted(config["target_modules"])


def test_a_saved_adapter_serves(lora: Any, tmp_path: Path, tiny_model_dir: Path) -> None:
    model = lora()
    randomise(model)
    model.save(tmp_path)
    base = TorchModel(tiny_model_dir)
    chat = [[{"role": "user", "content": "How do I bake bread?"}]]
    served = base.with_adapter(tmp_path).logprobs(chat, ["Mix flour and water."])[0]
    assert served.total != pytest.approx(base.logprobs(chat, ["Mix flour and water."])[0].total)


def test_the_seed_decides_a_new_adapter_and_leaves_the_global_one_alone(lora: Any) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, same, other = lora(seed=1), lora(seed=1), lora(seed=2)
    assert torch.rand(1) == expected
    name = next(iter(first.factors()))
    assert torch.equal(first.factors()[name][0], same.factors()[name][0])
    assert not torch.equal(first.factors()[name][0], other.factors()[name][0])


def test_what_does_not_fit_is_one_clear_line(
    lora: Any, tmp_path: Path, tiny_model_dir: Path
) -> None:
    with pytest.raises(ModelError, match="no_proj does not fit tiny"):
        LoraModel(
            TorchModel(tiny_model_dir, name="tiny"), None, LoraOptions(targets=("no_proj",)), 0
        )
    lora().save(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"rubbish")
    with pytest.raises(ModelError, match="does not fit") as caught:
        lora(tmp_path)
    assert "\n" not in str(caught.value)
