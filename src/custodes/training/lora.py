"""A base model with one LoRA adapter that is trained.

LoRA: Hu et al. 2021, arXiv:2106.09685. A weight matrix W becomes W + (alpha / rank) B A, with A and
B trained and W frozen. The base stays as it is loaded (bf16), A and B are float32.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from custodes.errors import ModelError
from custodes.runs.files import explain_disk, write_json

if TYPE_CHECKING:
    import torch

    from custodes.models.torch import TorchModel

__all__ = ["Factors", "LoraModel", "LoraOptions", "Moved", "read_factors"]

Factors = Mapping[str, "tuple[torch.Tensor, torch.Tensor]"]
"""An adapter, by module name: A (rank, in) and (alpha / rank) B (out, rank), in float64.

Their product B A is what is added to the module's weights.
"""

# Where an adapter is trained, and what a fresh one is called; trl looks for this name.
_NAME = "default"


@dataclass(frozen=True)
class LoraOptions:
    """The adapter that a first training puts on a base model; later ones go on with it.

    Attributes:
        rank: Rank of the change to each weight matrix.
        alpha: The change is scaled by alpha / rank.
        targets: The adapted matrices, by the last part of their names; by default all linear layers
            but the output head.
    """

    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Moved:
    """How far training moved the weights that are served, the adapter merged in.

    Attributes:
        total: Frobenius norm of the change of all adapted matrices, over that of the base's.
        largest: The same of the matrix that moved most.
        where: Its name.
    """

    total: float
    largest: float
    where: str


class LoraModel:
    """A base model with one trainable adapter.

    Attributes:
        base: Where the base came from: its name, tokenizer and weights. It has no other adapter.
        model: The peft model around it.
        tokenizer: Its tokenizer.
    """

    def __init__(
        self, base: TorchModel, adapter: Path | None, options: LoraOptions, seed: int
    ) -> None:
        """Put an adapter on a base model that nobody else uses.

        Args:
            base: A model without adapter, whose modules are changed in place.
            adapter: PEFT folder to go on from. None makes a new adapter, which changes nothing
                yet (B is zero).
            options: Shape of a new adapter.
            seed: Initialises A of a new adapter.

        Raises:
            ModelError: The adapter does not fit, or the targets name no linear layer.
        """
        from peft import PeftModel
        from safetensors import SafetensorError

        if base.adapter is not None:
            raise ModelError(f"{base.name} already has an adapter", "load the base without it")
        self.base, self.tokenizer = base, base.tokenizer
        try:
            with warnings.catch_warnings():
                # peft asks transformers for what transformers would rather be asked otherwise.
                warnings.simplefilter("ignore", FutureWarning)
                self.model = (
                    _fresh(base.model, options, seed)
                    if adapter is None
                    else PeftModel.from_pretrained(
                        base.model, str(adapter), _NAME, is_trainable=True
                    )
                )
        except (ValueError, RuntimeError, OSError, KeyError, SafetensorError) as error:
            message = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            what = adapter or f"an adapter on {', '.join(options.targets) or 'all linear layers'}"
            raise ModelError(f"{what} does not fit {base.name}", message) from None

    @property
    def trainable(self) -> int:
        """Number of weights that training changes."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def factors(self) -> Factors:
        """Copy what the adapter is."""
        return {
            name: (
                module.lora_A[_NAME].weight.detach().double(),
                module.lora_B[_NAME].weight.detach().double() * module.scaling[_NAME],
            )
            for name, module in self._layers()
        }

    def matrices(self) -> list[tuple[Any, torch.Tensor, torch.Tensor, float]]:
        """List the adapted modules: the base's layer, A and B themselves, and alpha / rank."""
        return [
            (
                module.get_base_layer(),
                module.lora_A[_NAME].weight,
                module.lora_B[_NAME].weight,
                module.scaling[_NAME],
            )
            for _, module in self._layers()
        ]

    def moved_from(self, before: Factors | None) -> Moved:
        """Measure how far the weights are from those with another adapter on the same modules.

        Args:
            before: The other adapter; None for the base itself.
        """
        now, norms = self.factors(), self._norms()
        moved = {
            name: math.sqrt(_squared_norm(now[name], before[name] if before else None))
            for name in now
        }
        total = math.hypot(*moved.values()) / math.hypot(*norms.values())
        # Not a number is larger than all numbers here: it must not lose every comparison.
        where = max(moved, key=lambda name: (math.isnan(moved[name]), moved[name] / norms[name]))
        return Moved(total, moved[where] / norms[where], where)

    def save(self, folder: Path) -> None:
        """Write the adapter as a PEFT folder, the same bytes for the same weights.

        Raises:
            RunError: The disk is full, or the place cannot be written.
        """
        with explain_disk(folder):
            # "auto" would ask the hub whether the base's embeddings are as they were.
            self.model.save_pretrained(
                str(folder), safe_serialization=True, save_embedding_layers=False
            )
            # peft describes the model in a card of its own, which knows less than ours.
            (folder / "README.md").unlink(missing_ok=True)
        settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        # peft keeps targets in a set, whose order differs between processes.
        for key, value in settings.items():
            if isinstance(value, list):
                settings[key] = sorted(value)
        settings["base_model_name_or_path"] = self.base.name
        write_json(folder / "adapter_config.json", settings)

    def unload(self) -> None:
        """Take the adapter off again: the base is as it was before."""
        self.model.unload()

    def _norms(self) -> dict[str, float]:
        """Return the Frobenius norm of each adapted matrix of the base."""
        return {
            name: float(module.get_base_layer().weight.detach().float().norm())
            for name, module in self._layers()
        }

    def _layers(self) -> list[tuple[str, Any]]:
        """List the modules that have the adapter, by their names in the base model."""
        modules = self.model.get_base_model().named_modules()
        return [(name, module) for name, module in modules if hasattr(module, "lora_A")]


def read_factors(folder: Path) -> Factors:
    """Read an adapter from its PEFT folder."""
    from safetensors.torch import load_file

    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    weights = load_file(folder / "adapter_model.safetensors")
    prefix, suffix = "base_model.model.", ".lora_A.weight"
    names = [key.removeprefix(prefix).removesuffix(suffix) for key in weights if suffix in key]
    return {
        name: (
            weights[f"{prefix}{name}{suffix}"].double(),
            weights[f"{prefix}{name}.lora_B.weight"].double()
            * (config["lora_alpha"] / config["r"]),
        )
        for name in names
    }


def _fresh(model: Any, options: LoraOptions, seed: int) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=0.0,
        target_modules=list(options.targets) or _linear(model),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(model, config, adapter_name=_NAME)


def _linear(model: Any) -> list[str]:
    """Name the linear layers by the last part of their names, without the output head."""
    from torch.nn import Linear

    head = model.get_output_embeddings()
    linear = (n for n, m in model.named_modules() if isinstance(m, Linear) and m is not head)
    return sorted({name.rpartition(".")[2] for name in linear})


def _squared_norm(
    now: tuple[torch.Tensor, torch.Tensor], before: tuple[torch.Tensor, torch.Tensor] | None = None
) -> float:
    """Return the squared Frobenius norm of B1 A1 − B0 A0, without forming either product.

    With B = [B1, −B0] and A = [A1; A0] it is that of B A, and ‖B A‖² = tr((Bᵀ B)(A Aᵀ)).
    """
    import torch

    a, b = now
    if before is not None:
        a, b = torch.cat([a, before[0]]), torch.cat([b, -before[1]], dim=1)
    # Rounding can leave the norm of no change a little below zero.
    return max(float(((b.T @ b) * (a @ a.T)).sum()), 0.0)
