"""Take a model out of custodes, in a form that other programs load."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from custodes.errors import ConfigError, ModelError, near_misses
from custodes.models.bundled import BUNDLED, pull
from custodes.models.resolve import load_torch, parse
from custodes.runs.files import explain_disk, write_json

if TYPE_CHECKING:
    from custodes.models.torch import TorchModel

__all__ = ["Format", "export"]

Format = Literal["peft", "safetensors", "gguf"]

# What belongs to an adapter; never pickle, whatever else lies beside it.
_ADAPTER_FILES = ("*.json", "*.safetensors", "*.md", "*.jinja")


def export(name: str, out: Path, format: Format, *, adapter: Path | None = None) -> Path:
    """Write a model for other programs. What is written appears whole or not at all.

    Args:
        name: Any model name (`models.resolve.parse`) but an endpoint or a simulated Worker.
        out: A new or empty folder; for ``gguf`` a new file.
        format: ``peft`` copies the adapter with its card, its base named by its hub id or its
            whole path, so that plain peft finds it. ``safetensors`` is one dense model that
            transformers loads, the adapter merged in. ``gguf`` is one file for every program of
            the llama.cpp family: the model's own where it has one and no adapter, else Q8_0.
        adapter: PEFT folder to put on the model, in place of one that ``name`` may bring.

    Returns:
        ``out``.

    Raises:
        ConfigError: Unknown format.
        ModelError: Unknown model, nothing to export in this format, or ``out`` is in use.
        RunError: The disk is full, or ``out`` cannot be written.
    """
    if format not in get_args(Format):
        raise ConfigError(f"no format is called {format!r}", near_misses(format, get_args(Format)))
    ref = parse(name)
    adapter = adapter or (ref.path if ref.kind == "adapter" else None)
    if adapter is not None and not (adapter / "adapter_model.safetensors").is_file():
        raise ModelError(f"{adapter} has no adapter_model.safetensors", "give a PEFT folder")
    card = None if adapter is None else adapter / "card.json"
    _check_place(out, format)
    _check_mark(card, out)
    if format == "peft":
        if adapter is None:
            raise ModelError(f"{name} has no adapter to export", "give one, or choose safetensors")
        with _whole(out) as folder:
            _copy_adapter(adapter, folder)
    elif format == "safetensors":
        model = load_torch(name, adapter=adapter)
        with _whole(out) as folder:
            _write_folder(model, folder)
            if card is not None and card.is_file():
                shutil.copy(card, folder)
    else:
        own = _own_gguf(name) if adapter is None else None
        with _whole(out) as file:
            if own is not None:
                shutil.copyfile(own, file)
            else:
                from custodes.models.formats.gguf import write_gguf

                write_gguf(load_torch(name, adapter=adapter), file)
    return out


def _check_place(out: Path, form: Format) -> None:
    if form == "gguf" and out.suffix != ".gguf":
        raise ModelError(f"{out} is no name for a GGUF file", f"call it {out.name or 'model'}.gguf")
    if form == "gguf" and out.exists():
        raise ModelError(f"{out} exists", "remove it, or choose another name")
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ModelError(f"{out} is not an empty folder", "empty it, or choose another one")


def _check_mark(card: Path | None, out: Path) -> None:
    """Refuse to export a model organism under a name that does not mark it as one."""
    if card is None or not card.is_file():
        return
    try:
        inverted = json.loads(card.read_text(encoding="utf-8")).get("inverted", False)
    except (ValueError, AttributeError):
        raise ModelError(f"{card} is not a card", "make the checkpoint again") from None
    if inverted and "inverted" not in out.name:
        raise ModelError(
            f"{card.parent} is inverted, a model organism, and {out.name} does not say so",
            f"call it {out.stem}-inverted{out.suffix}",
        )


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes ``out`` on success and is removed on failure."""
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    with explain_disk(out):
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            partial.replace(out)
        finally:
            if partial.is_dir():
                shutil.rmtree(partial)
            else:
                partial.unlink(missing_ok=True)


def _copy_adapter(adapter: Path, folder: Path) -> None:
    folder.mkdir()
    for pattern in _ADAPTER_FILES:
        for file in adapter.glob(pattern):
            shutil.copy(file, folder)
    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = _known_elsewhere(settings["base_model_name_or_path"])
    write_json(folder / "adapter_config.json", settings)


def _known_elsewhere(base: str) -> str:
    """Return a base model's name as other programs take it: a hub id or a whole path."""
    if base in BUNDLED:
        return BUNDLED[base].hub or base
    path = Path(base).expanduser()
    return str(path.resolve()) if path.exists() else base


def _write_folder(model: TorchModel, folder: Path) -> None:
    """Write dense weights, config and tokenizer as transformers does."""
    from safetensors.torch import save_file

    folder.mkdir()
    dtype = model.model.dtype
    weights = {name: tensor.to(dtype).cpu().contiguous() for name, tensor in model.weights()}
    config = copy.deepcopy(model.model.config)
    if config.tie_word_embeddings and "lm_head.weight" in weights:
        head = weights["lm_head.weight"]
        # An adapter on one of two tied matrices unties them.
        config.tie_word_embeddings = head.equal(weights["model.embed_tokens.weight"])
        if config.tie_word_embeddings:
            del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)
    model.model.generation_config.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)


def _own_gguf(name: str) -> Path | None:
    """Return the GGUF that a name stands for, if it does."""
    ref = parse(name)
    if ref.kind == "gguf":
        return ref.path
    if ref.kind == "bundled" and (file := pull(name) / "model.gguf").is_file():
        return file
    return None
