"""Model files to a transformers model in memory, and back to a folder.

Safetensors or GGUF only, from this disk only, and none of a model's own code is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from custodes.errors import ModelError

__all__ = ["dequantise", "first_line", "load_weights"]


def load_weights(source: Path, dtype: str) -> tuple[Any, Any]:
    """Load model and tokenizer: safetensors or GGUF, from this disk, without code of their own."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    options: dict[str, Any] = {
        "dtype": getattr(torch, dtype),
        "local_files_only": True,
        "trust_remote_code": False,
        "use_safetensors": True,
    }
    folder = source
    if source.suffix == ".gguf":
        folder = source.parent
        options |= {
            "gguf_file": source.name,
            "quantization_config": GgufConfig(dequantize=True),
        }
    elif not any(source.glob("*.safetensors")):
        raise ModelError(
            f"{source} has no .safetensors file",
            "give a folder with safetensors and config.json, or a .gguf file",
        )
    try:
        with _quiet():
            model, report = AutoModelForCausalLM.from_pretrained(
                folder, **options, output_loading_info=True
            )
            tokenizer = _load_tokenizer(source)
    except ModelError:
        raise
    except Exception as error:  # a broken file makes the libraries raise nearly anything
        raise ModelError(
            f"{source} is no model that transformers can load", first_line(error)
        ) from error
    if report["missing_keys"]:
        raise ModelError(
            f"{source} is no complete causal language model",
            f"its weights lack {min(report['missing_keys'])}",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.requires_grad_(False)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


def dequantise(gguf: Path, folder: Path) -> None:
    """Save a .gguf as a folder with bf16 safetensors, config and tokenizer, which loads faster."""
    model, tokenizer = load_weights(gguf, "bfloat16")
    with _quiet():
        model.save_pretrained(folder, safe_serialization=True)
        tokenizer.save_pretrained(folder)


def _load_tokenizer(source: Path) -> Any:
    if source.suffix == ".gguf":
        # Not transformers' own conversion: it forgets the rule by which text is cut before the
        # merges apply, and gives "\\n\\n5" other ids than those the model was trained on.
        from custodes.models.formats.gguf_tokenizer import load_tokenizer

        return load_tokenizer(source)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(source, local_files_only=True, trust_remote_code=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bars of transformers; its log messages still appear."""
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        # The bar over a GGUF's tensors has no switch.
        with redirect_stderr(StringIO()):
            yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def first_line(error: Exception) -> str:
    """Return the first line of another library's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
