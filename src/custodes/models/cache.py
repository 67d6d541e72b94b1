"""The cache of models: its folder, its locks, and versions made of hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from custodes.errors import ModelError

__all__ = [
    "adapter_version",
    "cache_dir",
    "clear_errors",
    "file_sha256",
    "locked",
    "short_version",
    "weights_version",
]

# Files that determine a model's answers, beside its weights.
_DECISIVE = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")

# Fields of adapter_config.json that describe an adapter's origin and not its computation.
_PROVENANCE = {"base_model_name_or_path", "inference_mode", "peft_version", "revision"}


def cache_dir() -> Path:
    """Return $CUSTODES_CACHE, else $XDG_CACHE_HOME/custodes, else ~/.cache/custodes."""
    if chosen := os.environ.get("CUSTODES_CACHE"):
        return Path(chosen).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared).expanduser() if shared else Path.home() / ".cache") / "custodes"


@contextmanager
def clear_errors(place: Path) -> Iterator[None]:
    """Turn a full disk or a folder that cannot be written into one clear line.

    Raises:
        ModelError: The block could not write below ``place``.
    """
    remedy = "or set CUSTODES_CACHE to a folder elsewhere"
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        number = getattr(error, "errno", None)
        # safetensors has errors of its own, without a number.
        if number == errno.EDQUOT or "No space left" in str(error):
            raise ModelError(
                f"no space left on the disk of {place}", f"free some, {remedy}"
            ) from error
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ModelError(f"{place} cannot be written", f"allow it, {remedy}") from error
        raise


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Lock ``target``, so that one process at a time makes it; the others wait."""
    from filelock import FileLock

    with clear_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.with_name(f".{target.name}.lock"))
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short_version(parts: Sequence[str]) -> str:
    """Return one short version made of hashes and settings, in order."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def weights_version(model: Path) -> str:
    """Return the version of a model folder or a .gguf file: a hash of its content, not its name.

    A folder's version covers its safetensors, config, tokenizer and chat template.
    """
    if model.is_file():
        return short_version([file_sha256(model)])
    files = [*sorted(model.glob("*.safetensors")), *(model / name for name in _DECISIVE)]
    return short_version([f"{file.name} {file_sha256(file)}" for file in files if file.exists()])


def adapter_version(base: str, adapter: Path) -> str:
    """Return the version of a base model (of version ``base``) with a PEFT adapter.

    Raises:
        ModelError: The folder holds no adapter in safetensors.
    """
    try:
        config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        weights = file_sha256(adapter / "adapter_model.safetensors")
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{adapter} is no LoRA adapter ({error})",
            "it needs adapter_config.json and adapter_model.safetensors",
        ) from error
    settings = {key: value for key, value in config.items() if key not in _PROVENANCE}
    # peft writes sets as lists, in an order that differs between processes.
    settings = {k: sorted(v) if isinstance(v, list) else v for k, v in settings.items()}
    return short_version([base, weights, json.dumps(settings, sort_keys=True)])
