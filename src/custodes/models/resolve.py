"""From a name to a model: the one place that interprets names.

A model is named the same way everywhere: ``smollm2-135m`` (bundled), ``org/name`` (Hugging Face),
a local folder (a full model or a PEFT adapter), a ``.gguf`` file, ``endpoint:MODEL@URL``, or
``simulated``.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Literal, get_args

from custodes.errors import ModelError, near_misses
from custodes.models.base import LanguageModel
from custodes.models.bundled import BUNDLED, pull
from custodes.models.cache import (
    adapter_version,
    cache_dir,
    clear_errors,
    locked,
    short_version,
    weights_version,
)

if TYPE_CHECKING:
    from custodes.models.torch import TorchModel

__all__ = [
    "Engine",
    "ModelRef",
    "has_cuda",
    "load",
    "load_pair",
    "load_torch",
    "load_torch_pair",
    "parse",
    "split_adapter",
    "version_of",
]

Engine = Literal["auto", "torch", "openvino", "vllm", "endpoint", "simulated"]
Kind = Literal["bundled", "hub", "folder", "adapter", "gguf", "endpoint", "simulated"]

# What is fetched from a hub: safetensors, and what a tokenizer is made of. Never pickle or code.
_HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

# Merged GGUFs that stay in the cache; the one used longest ago goes first.
_MERGED_KEPT = 4


@dataclass(frozen=True)
class ModelRef:
    """What a model's name means.

    Attributes:
        name: The name that the user gave.
        kind: Kind of the model, by where it is.
        path: The folder or file, for a folder, an adapter or a GGUF.
        base: The model that an adapter was trained on.
    """

    name: str
    kind: Kind
    path: Path | None = None
    base: ModelRef | None = None


def parse(name: str) -> ModelRef:
    """Interpret a model's name. Nothing is fetched or loaded.

    Raises:
        ConfigError: The part after ``endpoint:`` or ``simulated:`` is malformed.
        ModelError: There is no model of that name.
    """
    prefix = name.partition(":")[0]
    if prefix == "endpoint":
        from custodes.models.endpoint.model import parse_endpoint

        parse_endpoint(name)
        return ModelRef(name, "endpoint")
    if prefix == "simulated":
        from custodes.models.simulated import parse_simulated

        parse_simulated(name)
        return ModelRef(name, "simulated")
    if name in BUNDLED:
        return ModelRef(name, "bundled")
    path = Path(name).expanduser()
    if name and path.is_dir():
        return _folder(name, path)
    if path.suffix == ".gguf" and path.is_file():
        return ModelRef(name, "gguf", path)
    if _HUB_ID.fullmatch(name) and path.suffix != ".gguf":
        return ModelRef(name, "hub")
    if path.suffix == ".gguf" or "/" in name:
        raise ModelError(f"there is no model at {name}", "check the path")
    raise ModelError(
        f"no model is called {name!r}",
        f"{near_misses(name, [*BUNDLED, 'simulated'])}; or give a Hugging Face id (org/name), "
        "a folder, a .gguf file or endpoint:MODEL@URL",
    )


def load(
    name: str,
    *,
    engine: Engine = "auto",
    adapter: Path | None = None,
    like_checkpoints: bool = False,
) -> LanguageModel:
    """Load a model by name; a bundled model is downloaded first if necessary.

    Args:
        name: See `parse`.
        engine: ``auto`` takes the fastest that can serve the model: torch (bf16) where there is a
            GPU with CUDA, else OpenVINO where it is installed, else torch. The model's ``engine``
            attribute says which it is.
        adapter: PEFT folder to answer with, in place of the one in ``name``, if any.
        like_checkpoints: Serve a .gguf as checkpoints trained from it are served (dequantised, then
            Q8_0) and not as it is, so that the two differ by the training alone.

    Raises:
        ModelError: Unknown name, missing files, or an engine that cannot serve this model.
    """
    if engine not in get_args(Engine):
        raise ModelError(f"no engine is called {engine!r}", near_misses(engine, get_args(Engine)))
    ref = parse(name)
    only = ref.kind if ref.kind in ("endpoint", "simulated") else None
    if engine not in ("auto", only) and (only or engine in ("endpoint", "simulated")):
        raise ModelError(f"engine {engine} cannot serve {name}", f"use auto or {only or 'torch'}")
    if only == "endpoint":
        return _load_endpoint(name, adapter)
    if only == "simulated":
        return _load_simulated(name, adapter)
    if engine == "vllm":
        return _load_vllm(ref, adapter)
    if engine == "torch" or (
        engine == "auto" and (has_cuda() or find_spec("openvino_genai") is None)
    ):
        return load_torch(name, adapter=adapter)
    as_is = None if adapter or like_checkpoints else _gguf(ref)
    return _load_openvino(ref, adapter, as_is, must=engine == "openvino")


def load_torch(name: str, *, adapter: Path | None = None) -> TorchModel:
    """Load a model to train, score or read: `load` with the torch engine, and its type."""
    from custodes.models.torch import TorchModel

    ref = parse(name)
    if ref.kind in ("endpoint", "simulated"):
        raise ModelError(
            f"the weights of {name} are not here",
            "give a bundled name, a hub id, a folder or a .gguf",
        )
    source, own = _sources(ref)
    return TorchModel(source, name=name, adapter=adapter or own)


def split_adapter(name: str) -> tuple[str, Path | None]:
    """Split a model's name into the base model's and the folder of the adapter that it brings.

    Returns:
        The base's name, and the adapter; None where the name is of no adapter.

    Raises:
        ModelError: There is no model of that name.
    """
    ref = _on_disk(parse(name))
    return (name, None) if ref.base is None else (ref.base.name, ref.path)


def load_pair(a: str, b: str, *, engine: Engine = "auto") -> tuple[LanguageModel, LanguageModel]:
    """Load two models to be compared, so that the engine is not what differs between them.

    A .gguf is served exactly as it is, unless the other model is an adapter: then both are served
    as checkpoints are (see `load`), and differ by the training alone. Where only one of the two can
    be served by OpenVINO, torch serves both. An endpoint's engine cannot be chosen.

    Returns:
        A and B; one and the same object where they have the same name.
    """
    refs = [parse(name) for name in (a, b)]
    trained = any(_on_disk(ref).kind == "adapter" for ref in refs)
    one = load(a, engine=engine, like_checkpoints=trained)
    two = one if a == b else load(b, engine=engine, like_checkpoints=trained)
    if {one.engine, two.engine} == {"torch", "openvino"}:
        return load_pair(a, b, engine="torch")
    return one, two


def load_torch_pair(a: str, b: str) -> tuple[TorchModel, TorchModel]:
    """Load two models to be scored token by token; a base that they share is loaded once.

    Raises:
        ModelError: The weights of one are not here.
    """
    one = load_torch(a)
    (source_a, _), (source_b, own_b) = (_sources(parse(name)) for name in (a, b))
    if source_a != source_b:
        return one, load_torch(b)
    two = one.with_adapter(own_b)
    two.name = b
    return one, two


def version_of(name: str) -> str | None:
    """Return a hash of a model's files without loading them, whatever engine will serve them.

    A bundled or hub model that is not here yet is fetched first.

    Returns:
        The version, or None for an endpoint or a simulated model, which know theirs once loaded.

    Raises:
        ModelError: There is no model of that name.
    """
    ref = parse(name)
    if ref.kind in ("endpoint", "simulated"):
        return None
    gguf = _gguf(ref)
    source, adapter = (gguf, None) if gguf else _sources(ref)
    version = weights_version(source)
    return version if adapter is None else adapter_version(version, adapter)


@cache
def has_cuda() -> bool:
    """Whether torch can use a GPU here; torch is only asked where there is a driver."""
    if not (Path("/proc/driver/nvidia").exists() or which("nvidia-smi")):
        return False
    import torch

    return torch.cuda.is_available()


def _load_vllm(ref: ModelRef, adapter: Path | None) -> LanguageModel:
    from custodes.models.vllm import VllmModel

    source, own = _sources(ref)
    if source.suffix == ".gguf":
        raise ModelError(f"engine vllm does not serve {ref.name}", "use torch or openvino")
    return VllmModel(source, name=ref.name, adapter=adapter or own)


def _load_endpoint(name: str, adapter: Path | None) -> LanguageModel:
    from custodes.models.endpoint.model import EndpointModel, parse_endpoint

    model, url, revision = parse_endpoint(name)
    served = EndpointModel(model, url, name=name, revision=revision)
    return served if adapter is None else served.with_adapter(adapter)


def _load_simulated(name: str, adapter: Path | None) -> LanguageModel:
    from custodes.models.simulated import SimulatedModel, parse_simulated

    model = SimulatedModel(parse_simulated(name), name=name)
    return model if adapter is None else model.with_adapter(adapter)


def _load_openvino(
    ref: ModelRef, adapter: Path | None, gguf: Path | None, *, must: bool
) -> LanguageModel:
    """Serve a GGUF as it is, and all else as a GGUF that is merged, written and kept by version.

    Where OpenVINO cannot serve the architecture and need not (``must``), torch does.
    """
    from custodes.models.openvino import OpenVinoModel

    if gguf is not None:
        version = weights_version(gguf)
    else:
        source, own = _sources(ref)
        adapter = adapter or own
        version = weights_version(source)
        if adapter is not None:
            version = adapter_version(version, adapter)
        version = short_version([version, "q8_0"])
        gguf = cache_dir() / "gguf" / f"{version}.gguf"
        with locked(gguf.parent), clear_errors(gguf.parent):
            if not gguf.is_file():
                from custodes.models.formats.gguf import supports
                from custodes.models.torch import TorchModel

                model = TorchModel(source, name=ref.name, adapter=adapter)
                if not must and not supports(model):
                    return model
                _write_merged(model, gguf)
            os.utime(gguf)
    try:
        return OpenVinoModel(gguf, name=ref.name, version=version)
    except ModelError:
        if must:
            raise
    return load_torch(ref.name, adapter=adapter)


def _write_merged(model: TorchModel, gguf: Path) -> None:
    """Write a GGUF into the cache, whole or not at all, and drop those used longest ago."""
    from custodes.models.formats.gguf import write_gguf

    gguf.parent.mkdir(exist_ok=True)
    unfinished = gguf.with_suffix(".partial")
    try:
        write_gguf(model, unfinished, quant="q8_0")
        unfinished.rename(gguf)
    finally:
        unfinished.unlink(missing_ok=True)
    newest_first = sorted(gguf.parent.glob("*.gguf"), key=lambda file: -file.stat().st_mtime_ns)
    for old in newest_first[_MERGED_KEPT:]:
        old.unlink()


def _gguf(ref: ModelRef) -> Path | None:
    """Return the GGUF that a name stands for, if it does."""
    if ref.kind == "gguf":
        return ref.path
    # One that can be trained is served as its checkpoints are, from the weights that torch has:
    # OpenVINO's reading of a Q4_1 file differs from that far more than Q8_0 does, and would pass
    # for what the first training changed.
    bundled = BUNDLED.get(ref.name) if ref.kind == "bundled" else None
    if bundled and not bundled.trainable and "model.gguf" in bundled.files:
        return pull(ref.name) / "model.gguf"
    return None


def _sources(ref: ModelRef) -> tuple[Path, Path | None]:
    """Return where the base weights are that torch loads, and the adapter a name brings."""
    ref = _on_disk(ref)
    if ref.kind == "adapter":
        assert ref.base is not None
        base = _on_disk(ref.base)
        if base.kind == "adapter":
            raise ModelError(f"the base of {ref.name} is an adapter too", "merge that one first")
        return _sources(base)[0], ref.path
    if ref.kind == "bundled":
        folder = pull(ref.name)
        trainable = BUNDLED[ref.name].trainable
        return (folder / "torch" if trainable else _gguf(ref) or folder), None
    assert ref.path is not None
    return ref.path, None


def _on_disk(ref: ModelRef) -> ModelRef:
    """Return a model that is on this disk, downloading one that is on the hub."""
    return _folder(ref.name, _download(ref.name)) if ref.kind == "hub" else ref


def _folder(name: str, path: Path) -> ModelRef:
    """Tell an adapter from a full model by what is in the folder."""
    if (path / "config.json").is_file():
        return ModelRef(name, "folder", path)
    settings = path / "adapter_config.json"
    if not settings.is_file():
        raise ModelError(
            f"{path} holds no model", "it needs config.json, or adapter_config.json of an adapter"
        )
    try:
        base = json.loads(settings.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (ValueError, AttributeError):
        raise ModelError(f"{settings} is not JSON", "save the adapter again") from None
    if not base:
        raise ModelError(f"{settings} names no base model", "set base_model_name_or_path in it")
    base = _as_trained(path, base)
    if (Path(base).expanduser() / "adapter_config.json").is_file():
        raise ModelError(f"the base of {path} is an adapter too", "merge that one first")
    return ModelRef(name, "adapter", path, parse(base))


def _as_trained(adapter: Path, base: str) -> str:
    """Return the base that an exported adapter was trained on, where its card says it.

    An export names the bundled model by its hub id, for other programs. The weights there are not
    those that were trained from, which the bundled file has only rounded.
    """
    try:
        trained = json.loads((adapter / "card.json").read_text(encoding="utf-8")).get("base")
    except (OSError, ValueError, AttributeError):
        return base
    return trained if trained in BUNDLED and BUNDLED[trained].hub == base else base


def _download(name: str) -> Path:
    """Return the hub's snapshot of a model; what is in the hub's cache is not fetched again."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except GatedRepoError:
        raise ModelError(
            f"{name} is gated", "accept its terms on the hub and set HF_TOKEN"
        ) from None
    except RepositoryNotFoundError:
        raise ModelError(f"the hub has no model {name}", "check the id, or set HF_TOKEN") from None
    except LocalEntryNotFoundError:
        raise ModelError(
            f"{name} is not in the hub's cache and the hub cannot be reached",
            "connect once, or unset HF_HUB_OFFLINE",
        ) from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "no status")
        raise ModelError(f"the hub did not serve {name} ({status})", "try again later") from None
