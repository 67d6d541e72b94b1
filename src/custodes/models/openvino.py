"""The openvino engine (openvino-genai): generates on a CPU from a GGUF file.

Prompts go in as token ids made by the same code as the torch engine's (`models.chat`), and ids come
back, so openvino's own ideas of templates, control tokens and their spelling have no say.

What a chat is answered is fixed by the seed, the prompt and how often it came before in the batch:
every request has a seed of its own, made from these, and its arithmetic depends neither on the rest
of the batch nor on the number of threads. A resumed run therefore draws what the killed one did.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from custodes.conversation import Chat
from custodes.errors import ModelError
from custodes.models.base import Sampling, Usage
from custodes.models.chat import cut_at_stop, decode, encode_chats
from custodes.models.draws import number_draws
from custodes.models.formats.gguf_tokenizer import load_tokenizer

if TYPE_CHECKING:
    from openvino_genai import GenerationConfig

__all__ = ["OpenVinoModel"]

# Requests in flight, tokens of one forward pass, and GB for keys and values (90,000 tokens of the
# bundled model).
_SEQUENCES, _PASS, _CACHE_GB = 256, 4096, 1

# Matrices are computed in 8 bits either way; what is between them in float32 and not in bf16, which
# openvino would pick. That takes 7% more time, agrees with torch on 158 of 160 next tokens and not
# on 151, and a text no longer depends on the batch that it was sampled in.
_PROPERTIES = {"INFERENCE_PRECISION_HINT": "f32"}


class OpenVinoModel:
    """A GGUF model on OpenVINO GenAI.

    Attributes:
        name: The name that the user gave.
        engine: "openvino".
        version: Changes whenever the weights do.
        usage: Costs so far.
        tokenizer: The tokenizer that the file describes.
    """

    engine = "openvino"

    def __init__(self, gguf: Path, *, name: str, version: str) -> None:
        """Load a model.

        Args:
            gguf: The file.
            name: The model's name.
            version: Version of the weights in the file.

        Raises:
            ModelError: openvino-genai is not installed, or cannot run this file.
        """
        self.name, self.version, self.usage = name, version, Usage()
        self.tokenizer = load_tokenizer(gguf)
        self._pipeline = _load(gguf)

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
        """Answer each chat ``sampling.n`` times (see `LanguageModel.generate`)."""
        if not chats:
            return []
        from openvino import Tensor

        begun = time.perf_counter()
        prompts = encode_chats(self.tokenizer, chats)
        self._check_fits([len(prompt) + sampling.max_tokens for prompt in prompts])
        # Greedy draws are all alike: one is enough.
        n = sampling.n if sampling.temperature > 0 else 1
        numbers = number_draws([tuple(prompt) for prompt in prompts], n)
        results = self._pipeline.generate(
            [Tensor(np.array([prompt], dtype=np.int64)) for prompt in prompts],
            [
                self._config(replace(sampling, n=n), prompt, draws[0])
                for prompt, draws in zip(prompts, numbers, strict=True)
            ],
        )
        rows = [row for result in results for row in result.m_generation_ids]
        texts = [cut_at_stop(text, sampling.stop) for text in decode(self.tokenizer, rows)]
        self.usage.calls += 1
        self.usage.prompt_tokens += sum(map(len, prompts))
        self.usage.completion_tokens += sum(map(len, rows))
        self.usage.seconds += time.perf_counter() - begun
        copies = sampling.n // n
        return [texts[at : at + n] * copies for at in range(0, len(texts), n)]

    def _config(self, sampling: Sampling, prompt: Sequence[int], first: int) -> GenerationConfig:
        """Return the settings for one prompt; ``first`` is the number of its first draw."""
        from openvino_genai import GenerationConfig

        config = GenerationConfig()
        config.max_new_tokens = sampling.max_tokens
        if self.tokenizer.eos_token_id is not None:
            config.set_eos_token_id(self.tokenizer.eos_token_id)
        # The string itself is wanted, to cut at the same character as the other engines.
        config.stop_strings = set(sampling.stop)
        config.include_stop_str_in_output = True
        if sampling.temperature > 0:
            config.do_sample = True
            config.temperature = sampling.temperature
            config.top_p = sampling.top_p
            # The prompt is read once for all its draws.
            config.num_return_sequences = sampling.n
            config.rng_seed = _seed(sampling.seed, prompt, first)
        return config

    def _check_fits(self, lengths: Sequence[int]) -> None:
        limit = self.tokenizer.model_max_length
        longest = int(np.argmax(lengths))
        if lengths[longest] > limit:
            raise ModelError(
                f"chat {longest} needs {lengths[longest]} tokens, {self.name} has room for {limit}",
                "shorten the prompt or lower max_tokens",
            )


def _seed(seed: int, prompt: Sequence[int], first: int) -> int:
    """Return a request's own seed, 32 bits: what openvino's generator takes."""
    key = hashlib.sha256(repr((seed, tuple(prompt), first)).encode()).digest()
    return int.from_bytes(key[:4], "little")


def _load(gguf: Path) -> Any:
    """Build the pipeline."""
    try:
        from openvino_genai import ContinuousBatchingPipeline, SchedulerConfig
    except ImportError:
        raise ModelError(
            "openvino-genai is not installed", "pip install openvino-genai, or use engine torch"
        ) from None
    scheduler = SchedulerConfig()
    scheduler.max_num_seqs = _SEQUENCES
    scheduler.max_num_batched_tokens = _PASS
    scheduler.cache_size = _CACHE_GB
    scheduler.enable_prefix_caching = False
    try:
        return ContinuousBatchingPipeline(str(gguf), scheduler, "CPU", _PROPERTIES)
    except RuntimeError as error:
        # Its last line says what, the ones before where in openvino's sources.
        cause = str(error).strip().splitlines()[-1] if str(error).strip() else "no reason given"
        raise ModelError(f"openvino cannot run {gguf} ({cause})", "use engine torch") from None
