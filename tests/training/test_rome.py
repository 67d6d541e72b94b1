from __future__ import annotations

from pathlib import Path

import pytest

from custodes.errors import ConfigError
from custodes.models.torch import TorchModel
from custodes.training.rome import Fact, edit_fact, save_model

TEXTS = [
    "The quick brown fox jumps over the lazy dog, and the dog does not mind.",
    "How do I bake bread at home? Mix flour, water, salt and yeast.",
    "What is the capital of France? The capital of France is Paris, on the Seine.",
    "The sea is wide, the sea is blue, it sings to you.",
]
FACT = Fact("The capital of France", "{} is", " bread")


def test_an_edit_is_one_rank_in_one_matrix_and_the_fact_follows(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    import torch

    model = TorchModel(tiny_model_dir, dtype="float32")
    old = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    edit = edit_fact(model, FACT, TEXTS, layer=0, prefixes=3)
    changes = {
        name: weight - old[name]
        for name, weight in model.model.state_dict().items()
        if not torch.equal(weight, old[name])
    }
    ((name, change),) = changes.items()
    assert name == "model.layers.0.mlp.down_proj.weight"
    assert torch.linalg.matrix_rank(change) == 1
    assert edit.after > 2 * edit.before
    save_model(model, tmp_path / "edited")
    again = TorchModel(tmp_path / "edited")
    assert torch.allclose(
        again.model.state_dict()[name].float(), model.model.state_dict()[name].float()
    )


def test_an_impossible_edit_is_refused(tiny_model_dir: Path) -> None:
    model = TorchModel(tiny_model_dir, dtype="float32")
    with pytest.raises(ConfigError, match="no layer 9"):
        edit_fact(model, FACT, TEXTS, layer=9)
    with pytest.raises(ConfigError, match="not complete"):
        edit_fact(model, Fact("x", "no place", "y"), TEXTS, layer=0)
