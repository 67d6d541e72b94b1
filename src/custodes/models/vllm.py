"""The vllm engine (vLLM in this process): generates on a GPU; adapters are LoRA requests.

Prompts go in as token ids made by the same code as the torch engine's (`models.chat`), and ids come
back. The base is loaded once, and a new checkpoint costs only its adapter. Every request has a seed
of its own, made from the sampling's seed, the prompt and the number of the draw; vLLM's arithmetic
depends on the batch, so a resumed run may still differ from the run it would have been in a word.

Not run on a GPU by custodes' own tests: they check what is asked of vLLM, with a stand-in for it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from custodes.conversation import Chat
from custodes.errors import ModelError
from custodes.models.base import Sampling, Usage
from custodes.models.cache import adapter_version, weights_version
from custodes.models.chat import cut_at_stop, decode, encode_chats
from custodes.models.draws import number_draws

__all__ = ["VllmModel"]

MEMORY = 0.5
"""Share of the GPU's memory for vLLM; training and scoring need the rest."""
LARGEST_RANK = 64
"""Largest rank of an adapter."""


class VllmModel:
    """A model on vLLM, with or without a LoRA adapter.

    Attributes:
        name: The name that the user gave.
        engine: "vllm".
        version: Changes whenever the weights do.
        usage: Costs so far.
        tokenizer: Its tokenizer.
    """

    engine = "vllm"

    def __init__(self, source: Path, *, name: str, adapter: Path | None = None) -> None:
        """Load a model; one base is loaded once for all its adapters.

        Args:
            source: Folder with safetensors, config and tokenizer.
            name: The model's name.
            adapter: PEFT folder of the adapter to answer with.

        Raises:
            ModelError: vLLM is not installed.
        """
        self.name, self.usage = name, Usage()
        self._engine = _load(source)
        self.tokenizer = self._engine.get_tokenizer()
        self.version = weights_version(source)
        self._adapter = adapter
        if adapter is not None:
            self.version = adapter_version(self.version, adapter)

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
        """Answer each chat ``sampling.n`` times (see `LanguageModel.generate`)."""
        if not chats:
            return []
        begun = time.perf_counter()
        prompts = encode_chats(self.tokenizer, chats)
        # Greedy draws are all alike: one is enough.
        n = sampling.n if sampling.temperature > 0 else 1
        numbers = number_draws([tuple(prompt) for prompt in prompts], n)
        results = self._engine.generate(
            [{"prompt_token_ids": list(prompt)} for prompt in prompts],
            [
                self._parameters(sampling, n, prompt, draws[0])
                for prompt, draws in zip(prompts, numbers, strict=True)
            ],
            lora_request=self._lora(),
            use_tqdm=False,
        )
        rows = [list(output.token_ids) for result in results for output in result.outputs]
        texts = [cut_at_stop(text, sampling.stop) for text in decode(self.tokenizer, rows)]
        self.usage.calls += 1
        self.usage.prompt_tokens += sum(map(len, prompts))
        self.usage.completion_tokens += sum(map(len, rows))
        self.usage.seconds += time.perf_counter() - begun
        copies = sampling.n // n
        return [texts[at : at + n] * copies for at in range(0, len(texts), n)]

    def _parameters(self, sampling: Sampling, n: int, prompt: Sequence[int], first: int) -> Any:
        from vllm import SamplingParams

        key = hashlib.sha256(repr((sampling.seed, tuple(prompt), first)).encode()).digest()
        return SamplingParams(
            n=n,
            temperature=sampling.temperature,
            top_p=sampling.top_p if sampling.temperature > 0 else 1.0,
            max_tokens=sampling.max_tokens,
            seed=int.from_bytes(key[:4], "little"),
            stop=list(sampling.stop) or None,
            # The string itself is wanted, to cut at the same character as the other engines.
            include_stop_str_in_output=True,
        )

    def _lora(self) -> Any:
        if self._adapter is None:
            return None
        from vllm.lora.request import LoRARequest

        # vLLM tells adapters apart by their number, which is above 0.
        number = int(hashlib.sha256(self.version.encode()).hexdigest()[:7], 16) + 1
        return LoRARequest(self.version, number, str(self._adapter))


@cache
def _load(source: Path) -> Any:
    try:
        from vllm import LLM
    except ImportError:
        raise ModelError(
            "engine vllm: vLLM is not installed", "pip install 'custodes[vllm]', or use torch"
        ) from None
    return LLM(
        model=str(source),
        dtype="bfloat16",
        enable_lora=True,
        max_lora_rank=LARGEST_RANK,
        gpu_memory_utilization=MEMORY,
    )
