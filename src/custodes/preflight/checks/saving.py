"""Checks that what is saved is what was trained."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import torch

from custodes.preflight.case import Case
from custodes.preflight.measure.rollout import perturbed
from custodes.preflight.registry import check, not_tested, verdict
from custodes.preflight.result import NotTestable, Verdict

__all__: list[str] = []

_LARGE = 2 << 30  # Bytes; a larger model is saved and loaded only when asked for.
_SPEED = 150e6  # Bytes a second, written and read back: a cautious figure for a laptop's disk.


def _bytes(model: Any) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


@check(
    "save-load",
    "step",
    dear=True,
    expected="what save_pretrained writes holds every weight that is trained, bit for bit",
    remedy="save with trainer.save_model; list trained embeddings and heads in modules_to_save; "
    "keep "
    "tie_word_embeddings in step with the weights",
    reference="huggingface/peft#2777; huggingface/peft#2764; unslothai/unsloth#9331",
)
def save_load(case: Case) -> Verdict:
    """Trained weights survive saving and loading."""
    model = case.subject.model
    if case.subject.on_meta:
        raise NotTestable("the model is on the meta device")
    peft = hasattr(model, "peft_config")
    size = (
        sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
        if peft
        else _bytes(model)
    )
    if size > _LARGE and "save-load" not in case.asked:
        return not_tested(f"{size / 1e9:.0f} GB would be written; ask with only=['save-load']")
    case.affordable(2 * size / _SPEED, "save-load")
    with perturbed(case, share=0.02), tempfile.TemporaryDirectory(prefix="custodes-") as folder:
        _save(case, model, folder)
        saved = _read(folder)
        if peft:
            return _compare(*_adapter_pairs(model, saved))
        return _compare(*_full_pairs(model, saved))


def _save(case: Case, model: Any, folder: str) -> None:
    """Save as the trainer would: its own `_save`, which users override, writes the weights."""
    trainer = case.trainer
    method = getattr(trainer, "_save", None)
    if method is not None and not getattr(model, "_hf_peft_config_loaded", False):
        try:
            method(folder)
            if list(Path(folder).rglob("*.safetensors")):
                return
        except (OSError, TypeError):
            pass
    model.save_pretrained(folder)


def _read(folder: str) -> dict[str, dict[str, torch.Tensor]]:
    """Read every safetensors file, by the folder it lies in."""
    from safetensors.torch import load_file

    found: dict[str, dict[str, torch.Tensor]] = {}
    for path in sorted(Path(folder).rglob("*.safetensors")):
        found.setdefault(str(path.parent.relative_to(folder)), {}).update(load_file(path))
    if not found:
        raise NotTestable("saving wrote no safetensors file")
    return found


def _adapter_pairs(
    model: Any, saved: dict[str, dict[str, torch.Tensor]]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    from peft import get_peft_model_state_dict

    live: dict[str, torch.Tensor] = {}
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    for adapter in model.peft_config:
        for key, value in get_peft_model_state_dict(model, adapter_name=adapter).items():
            folder = "." if adapter == "default" else adapter
            if folder in saved:
                live[f"{folder}:{key}"] = value
    pointers = {v.data_ptr() for v in live.values()}
    for name, weight in model.named_parameters():
        if id(weight) in trained and weight.data_ptr() not in pointers:
            live[f"missing:{name}"] = weight
    disk = {f"{folder}:{k}": v for folder, part in saved.items() for k, v in part.items()}
    return live, disk


def _full_pairs(
    model: Any, saved: dict[str, dict[str, torch.Tensor]]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Compare what a fresh load of the files gives with the live weights."""
    live = dict(model.named_parameters(remove_duplicate=False))
    disk = {k: v for part in saved.values() for k, v in part.items()}
    text = (
        model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    )
    if getattr(text, "tie_word_embeddings", False):
        # Loading ties the head to the embedding, whatever the head was.
        embedding = _name_of(live, model.get_input_embeddings())
        head = model.get_output_embeddings()
        for name in [n for n, p in live.items() if head is not None and p is head.weight]:
            if embedding in disk:
                disk[name] = disk[embedding]
    return live, disk


def _name_of(live: dict[str, torch.Tensor], module: Any) -> str:
    weight = getattr(module, "weight", None)
    names = [n for n, p in live.items() if p is weight]
    return names[0] if names else ""


def _compare(live: dict[str, torch.Tensor], disk: dict[str, torch.Tensor]) -> Verdict:
    missing = [k for k in live if k not in disk]
    # Checkpoints may rename a prefix: compare by value where the name is not there.
    if len(missing) > len(live) / 2:
        return not_tested("the file names weights otherwise than the model does", names=missing[:3])
    changed = [
        k
        for k, v in live.items()
        if k in disk
        and (disk[k].shape != v.shape or not torch.equal(disk[k].to(v.dtype), v.detach().cpu()))
    ]
    return verdict(
        not missing and not changed,
        f"of {len(live)} tensors {len(missing)} are not in the file and {len(changed)} differ"
        + (f", e.g. {(missing + changed)[0]}" if missing or changed else ""),
        tensors=len(live),
        missing=missing[:5],
        changed=changed[:5],
    )


@check(
    "merge",
    "step",
    dear=True,
    expected="merged weights give what base and adapter give",
    remedy="merge in float32; check that the adapter was trained on this base and not on a "
    "quantized one",
    reference="huggingface/peft#2764",
)
def merge(case: Case) -> Verdict:
    """Merging an adapter into its base changes nothing."""
    model = case.subject.model
    if not hasattr(model, "peft_config"):
        return not_tested("the model has no adapters")
    layers = [
        (n, m)
        for n, m in model.named_modules()
        if hasattr(m, "merge")
        and hasattr(m, "base_layer")
        and hasattr(m, "lora_A")
        and len(m.lora_A)
    ]
    if not layers:
        return not_tested("no LoRA layer is a linear one")
    worst, name = 0.0, ""
    with perturbed(case), torch.no_grad():
        for place, layer in layers[:: max(len(layers) // 6, 1)]:
            width = (
                getattr(layer.base_layer, "in_features", None) or layer.base_layer.weight.shape[0]
            )
            first = next(iter(layer.lora_A.values())).weight
            draw = torch.Generator().manual_seed(0)
            x = torch.randn(4, int(width), generator=draw).to(layer.base_layer.weight)
            twin = copy.deepcopy(layer).eval()
            if first.shape[-1] != x.shape[-1]:
                continue
            apart = twin(x).float()
            plain = twin.base_layer(x).float()
            twin.merge()
            merged = twin(x).float()
            scale = float((apart - plain).abs().max()) + float(apart.abs().max()) * 1e-2 + 1e-6
            off = float((merged - apart).abs().max()) / scale
            if off > worst:
                worst, name = off, place
    bound = 0.2 if next(model.parameters()).dtype != torch.float32 else 1e-2
    return verdict(
        worst <= bound,
        f"merged layers differ by up to {worst:.2g} of the adapter's own effect"
        + (f" ({name})" if worst > bound else ""),
        difference=worst,
    )
