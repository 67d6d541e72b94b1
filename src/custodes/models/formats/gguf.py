"""Write a model as one GGUF file, which OpenVINO and every llama.cpp-family program loads.

Simplified: the llama architecture without biases and with plain rotary embeddings; other models
are refused by name and not written wrong. Two things differ from a transformers checkpoint:
tensors have ggml's names, and the rows of the query and key projections are permuted, because ggml
rotates neighbouring pairs (2i, 2i+1) where transformers rotates halves (i, i + d/2).
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from custodes.errors import ModelError
from custodes.models.formats.gguf_tokenizer import describe_tokenizer

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter

    from custodes.models.torch import TorchModel

__all__ = ["Quant", "supports", "write_gguf"]

Quant = Literal["q8_0", "bf16", "f16"]

# general.file_type, by the kind of most tensors
_FILE_TYPES: dict[Quant, int] = {"q8_0": 7, "bf16": 32, "f16": 1}

_OUTSIDE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_IN_BLOCK = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def supports(model: TorchModel) -> bool:
    """Return whether `write_gguf` can write this model."""
    try:
        _check(model)
        describe_tokenizer(model.tokenizer, model.model.config.vocab_size)
    except ModelError:
        return False
    return True


def write_gguf(model: TorchModel, out: Path, *, quant: Quant = "q8_0") -> None:
    """Write a model, its adapter merged in, with its tokenizer and chat template.

    The same weights give the same bytes.

    Args:
        model: A model of the llama architecture with a byte-level BPE tokenizer.
        out: The file to write.
        quant: Storage of matrices: ``q8_0`` (8 bits in blocks of 32, each value within 1/254 of
            its block's largest), ``bf16`` or ``f16``. Vectors stay float32, and matrices whose
            rows are no multiple of 32 become ``f16`` under ``q8_0``.

    Raises:
        ModelError: A model of another kind.
        OSError: The file cannot be written.
    """
    from gguf import GGUFWriter

    _check(model)
    config = model.model.config
    writer = GGUFWriter(out, "llama")
    _add_metadata(writer, model, quant)
    weights = dict(model.weights())
    embedding, head = weights["model.embed_tokens.weight"], weights.pop("lm_head.weight", None)
    # Tied in the config, they may still differ: an adapter can sit on one of them alone.
    if head is not None and not (head.dtype == embedding.dtype and head.equal(embedding)):
        weights["lm_head.weight"] = head
    for name, tensor in weights.items():
        array = tensor.float().cpu().numpy()
        if name.endswith("q_proj.weight"):
            array = _interleave(array, config.num_attention_heads)
        elif name.endswith("k_proj.weight"):
            array = _interleave(array, config.num_key_value_heads)
        kind = _storage(array, quant)
        writer.add_tensor(_ggml_name(name), _packed(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    try:
        writer.write_tensors_to_file()
    except OSError as error:
        # numpy's own says that fewer bytes were written than meant, and not why.
        number = errno.ENOSPC if error.errno is None else error.errno
        raise OSError(number, os.strerror(number), str(out)) from error
    writer.close()


def _check(model: TorchModel) -> None:
    """Refuse what would be written wrong."""
    config = model.model.config
    remedy = "use the torch engine, or export it as safetensors"
    if config.model_type != "llama":
        raise ModelError(
            f"{model.name} has the architecture {config.model_type}; only llama can become GGUF",
            remedy,
        )
    rope = config.rope_parameters["rope_type"]
    if rope != "default":
        raise ModelError(f"{model.name} scales its rotary embeddings ({rope})", remedy)
    if config.attention_bias or config.mlp_bias:
        raise ModelError(f"{model.name} has biases in its projections", remedy)


def _add_metadata(writer: GGUFWriter, model: TorchModel, quant: Quant) -> None:
    config = model.model.config
    width = config.head_dim or config.hidden_size // config.num_attention_heads
    writer.add_type("model")
    writer.add_name(model.name)
    writer.add_file_type(_FILE_TYPES[quant])
    writer.add_quantization_version(2)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    for key, value in describe_tokenizer(model.tokenizer, config.vocab_size).items():
        _add(writer, key, value)


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _ggml_name(name: str) -> str:
    """Translate a tensor's name.

    >>> _ggml_name("model.layers.3.self_attn.q_proj.weight")
    'blk.3.attn_q.weight'
    """
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    match = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.weight", name)
    if match is None or match[2] not in _IN_BLOCK:
        raise ModelError(f"a llama model has no tensor {name}", "merge it into a plain model first")
    return f"blk.{match[1]}.{_IN_BLOCK[match[2]]}.weight"


def _interleave(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Reorder a projection's rows within each head from halves to neighbouring pairs.

    Args:
        rows: (heads * d, inputs), rotated as (i, i + d/2).
        heads: Number of heads of the queries, or of the keys.

    Returns:
        The same shape, rotated as (2i, 2i + 1).
    """
    outputs, inputs = rows.shape
    halves = rows.reshape(heads, 2, outputs // heads // 2, inputs)
    return halves.swapaxes(1, 2).reshape(outputs, inputs)


def _storage(array: NDArray[np.float32], quant: Quant) -> GGMLQuantizationType:
    from gguf import GGMLQuantizationType as Kind

    if array.ndim == 1:
        return Kind.F32
    if quant == "q8_0" and array.shape[1] % 32:
        return Kind.F16
    return Kind[quant.upper()]


def _packed(array: NDArray[np.float32], kind: GGMLQuantizationType) -> NDArray[Any]:
    from gguf import quantize

    packed: NDArray[Any] = quantize(array, kind)
    return packed
