"""Tokenizers in GGUF files: read one as a fast tokenizer, describe one for writing.

Simplified: byte-level BPE only, which is what the Llama 3, SmolLM and Qwen 2 families use. How a
text is cut before the merges apply is named in a GGUF (``tokenizer.ggml.pre``) and spelled out in a
``tokenizer.json``; the table below holds both, and a name or a rule that is not in it is an error,
because a wrong guess gives other ids on some texts and no sign of it.
"""

from __future__ import annotations

import json
import mmap
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from custodes.errors import ModelError, near_misses

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["TOKEN_TYPES", "describe_tokenizer", "load_tokenizer", "read_metadata"]

# ggml's token types, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#tokenizer
TOKEN_TYPES = {"normal": 1, "control": 3, "user_defined": 4, "unused": 5}

# ggml's value types, in struct's terms.
_SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
_STRING, _ARRAY = 8, 9

_DIGITS = {"type": "Digits", "individual_digits": True}
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
_WORDS = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}


def _split(pattern: str) -> dict[str, Any]:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

# ggml's name of a pre-tokenizer -> its steps, in the terms of tokenizer.json.
_PRE_TOKENIZERS: dict[str, list[dict[str, Any]]] = {
    "gpt-2": [_WORDS],
    "smollm": [_DIGITS, _WORDS],
    "llama-bpe": [_split(_CONTRACTIONS + r"|\p{N}{1,3}" + _REST), _BYTES],
    "qwen2": [_split(_CONTRACTIONS + r"|\p{N}" + _REST), _BYTES],
}


def load_tokenizer(gguf: Path) -> PreTrainedTokenizerFast:
    """Build the tokenizer that a GGUF file describes.

    It never adds a beginning-of-sequence token by itself: chat templates write their own.

    Raises:
        ModelError: No GGUF file, or its tokenizer is of a kind that is not known here.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    meta = read_metadata(gguf)
    kind, pre = meta.get("tokenizer.ggml.model"), str(meta.get("tokenizer.ggml.pre"))
    if kind != "gpt2":
        raise ModelError(
            f"the tokenizer in {gguf} is of kind {kind!r}, not byte-level BPE",
            "use the model's Hugging Face folder instead",
        )
    if pre not in _PRE_TOKENIZERS:
        raise ModelError(
            f"{gguf} cuts text by the rules of {pre!r}, which are not known here",
            f"use the model's Hugging Face folder instead ({near_misses(pre, _PRE_TOKENIZERS)})",
        )
    tokens: list[str] = meta["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in meta["tokenizer.ggml.merges"]]
    backend = Tokenizer(
        models.BPE(
            vocab={token: i for i, token in enumerate(tokens)},
            merges=merges,
            # The Llama 3 family takes a word that is in the vocabulary whole, merges or not.
            ignore_merges=pre == "llama-bpe",
        )
    )
    backend.pre_tokenizer = _pre_tokenizer(_PRE_TOKENIZERS[pre])
    backend.decoder = decoders.ByteLevel()
    if pre == "qwen2":
        backend.normalizer = normalizers.NFC()
    types = meta.get("tokenizer.ggml.token_type") or [TOKEN_TYPES["normal"]] * len(tokens)
    for name, special in (("control", True), ("user_defined", False)):
        added = [t for t, kind in zip(tokens, types, strict=True) if kind == TOKEN_TYPES[name]]
        backend.add_tokens([AddedToken(t, normalized=False, special=special) for t in added])

    def token(key: str) -> str | None:
        at = meta.get(f"tokenizer.ggml.{key}_token_id")
        return None if at is None else tokens[at]

    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=token("bos"),
        eos_token=token("eos"),
        unk_token=token("unknown"),
        pad_token=token("padding") or token("eos"),
        model_max_length=meta.get(f"{meta['general.architecture']}.context_length", 1 << 30),
        chat_template=meta.get("tokenizer.chat_template"),
        clean_up_tokenization_spaces=False,
    )


def describe_tokenizer(tokenizer: PreTrainedTokenizerFast, size: int) -> dict[str, Any]:
    """Describe a tokenizer in the keys of a GGUF file.

    Args:
        tokenizer: A fast byte-level BPE tokenizer.
        size: Rows of the model's embedding; ids beyond the vocabulary become unused tokens.

    Returns:
        Key to value, in the order in which they are to be written.

    Raises:
        ModelError: The tokenizer is of a kind that is not known here.
    """
    from tokenizers import Tokenizer

    backend: Tokenizer = tokenizer.backend_tokenizer
    spec = json.loads(backend.to_str())
    pre = _pre_name(spec)
    if pre is None:
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path} cuts text by rules that GGUF has no name "
            "for here",
            f"known are byte-level BPE with those of {', '.join(_PRE_TOKENIZERS)}",
        )
    normal, unused = TOKEN_TYPES["normal"], TOKEN_TYPES["unused"]
    tokens, types = [f"[PAD{i}]" for i in range(size)], [unused] * size
    for token, i in backend.get_vocab(with_added_tokens=True).items():
        tokens[i], types[i] = token, normal
    for i, added in backend.get_added_tokens_decoder().items():
        types[i] = TOKEN_TYPES["control" if added.special else "user_defined"]
    meta: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": [" ".join(merge) for merge in spec["model"]["merges"]],
        "tokenizer.ggml.add_space_prefix": False,
        # Chat templates write their own; a second one would shift every answer.
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": tokenizer.chat_template,
    }
    for name, role in (("bos", "bos"), ("eos", "eos"), ("unknown", "unk"), ("padding", "pad")):
        meta[f"tokenizer.ggml.{name}_token_id"] = getattr(tokenizer, f"{role}_token_id")
    return {key: value for key, value in meta.items() if value is not None}


def read_metadata(gguf: Path) -> dict[str, Any]:
    """Read the key-value part of a GGUF file, https://github.com/ggml-org/ggml gguf.md.

    The ``gguf`` package's reader gives the same in 3 s for a vocabulary of 49,152; this takes 0.2.

    Raises:
        ModelError: No GGUF file of version 2 or 3, or one that was cut short.
    """
    try:
        with gguf.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Fields(data).read()
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise ModelError(
            f"{gguf} is no GGUF file of version 2 or 3 ({error or type(error).__name__})",
            "fetch or export it again",
        ) from None


class _Fields:
    """A cursor over the key-value part of a GGUF file."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at = data, 0

    def read(self) -> dict[str, Any]:
        if self._data[:4] != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        self._at = 4
        version, _, count = self._next("I"), self._next("Q"), self._next("Q")
        if version not in (2, 3):
            raise ValueError(f"version {version}")
        return {self._string(): self._value(self._next("I")) for _ in range(count)}

    def _value(self, kind: int) -> Any:
        if kind == _ARRAY:
            item, count = self._next("I"), self._next("Q")
            return [self._item(item) for _ in range(count)]
        return self._item(kind)

    def _item(self, kind: int) -> Any:
        return self._string() if kind == _STRING else self._next(_SCALARS[kind])

    def _string(self) -> str:
        size = self._next("Q")
        text = self._data[self._at : self._at + size]
        self._at += size
        return text.decode("utf-8", errors="replace")

    def _next(self, form: str) -> Any:
        """Read one value, little-endian."""
        (value,) = struct.unpack_from(f"<{form}", self._data, self._at)
        self._at += struct.calcsize(f"<{form}")
        return value


def _pre_tokenizer(steps: list[dict[str, Any]]) -> Any:
    """Build a pre-tokenizer from its steps."""
    from tokenizers import Regex, pre_tokenizers

    built = []
    for step in steps:
        options = {key: value for key, value in step.items() if key != "type"}
        if step["type"] == "Split":
            options |= {"pattern": Regex(step["pattern"]["Regex"]), "behavior": "isolated"}
        built.append(getattr(pre_tokenizers, step["type"])(**options))
    return pre_tokenizers.Sequence(built) if len(built) > 1 else built[0]


def _pre_name(spec: dict[str, Any]) -> str | None:
    """Return the name of a ``tokenizer.json``'s pre-tokenizer; None if its rules are unknown."""
    pre = spec["pre_tokenizer"] or {}
    steps = pre["pretokenizers"] if pre.get("type") == "Sequence" else [pre]
    if spec["model"]["type"] != "BPE" or spec["model"].get("byte_fallback"):
        return None
    # Trimming concerns offsets only.
    plain = [{k: v for k, v in step.items() if k != "trim_offsets"} for step in steps]
    return next((name for name, rules in _PRE_TOKENIZERS.items() if rules == plain), None)
