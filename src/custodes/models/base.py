"""What a model is to the rest of custodes: batches of chats in, batches of texts out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from custodes.conversation import Chat

__all__ = [
    "Array",
    "LanguageModel",
    "Sampling",
    "ScoringModel",
    "TokenLogprobs",
    "Usage",
]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Sampling:
    """How to sample. The same value, seed and model version give the same texts.

    Attributes:
        max_tokens: Longest completion, in tokens (>= 1).
        temperature: 0 is greedy; otherwise the softmax temperature (> 0).
        top_p: Nucleus mass in (0, 1].
        n: Completions for each chat (>= 1).
        seed: Determines every draw of the batch.
        stop: Strings that end a completion; the completion leaves them out.
    """

    max_tokens: int = 64
    temperature: float = 0.8
    top_p: float = 1.0
    n: int = 1
    seed: int = 0
    stop: tuple[str, ...] = ()

    def seeded(self, seed: int) -> Sampling:
        """Return the same sampling under another seed."""
        return replace(self, seed=seed)


@dataclass(frozen=True)
class TokenLogprobs:
    """Log-probabilities of one completion, token by token.

    Attributes:
        tokens: The completion's tokens as text, in order; joined they are the completion.
        logprobs: Natural-log probabilities, shape (len(tokens),), each <= 0.
    """

    tokens: tuple[str, ...]
    logprobs: Array

    @property
    def total(self) -> float:
        """Log-probability of the whole completion, in nats."""
        return float(self.logprobs.sum(dtype=np.float64))


@dataclass
class Usage:
    """Costs of a model so far. Engines add to them; readers take differences.

    Attributes:
        calls: Calls of the engine, or requests to the server.
        prompt_tokens: Tokens read.
        completion_tokens: Tokens written.
        seconds: Time spent, in seconds.
        cache_hits: Replies that came out of a cache.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    cache_hits: int = 0

    def since(self, before: Usage) -> Usage:
        """Return the costs since ``before``, an earlier copy."""
        return Usage(
            self.calls - before.calls,
            self.prompt_tokens - before.prompt_tokens,
            self.completion_tokens - before.completion_tokens,
            self.seconds - before.seconds,
            self.cache_hits - before.cache_hits,
        )

    def copy(self) -> Usage:
        """Return a copy."""
        return replace(self)

    @staticmethod
    def sum(parts: Iterable[Usage]) -> Usage:
        """Add usages up."""
        total = Usage()
        for part in parts:
            total = total.since(
                Usage(
                    -part.calls,
                    -part.prompt_tokens,
                    -part.completion_tokens,
                    -part.seconds,
                    -part.cache_hits,
                )
            )
        return total


@runtime_checkable
class LanguageModel(Protocol):
    """Anything that answers chats in batches.

    Attributes:
        name: The name that the user gave.
        engine: Which engine serves it: torch, openvino, endpoint or simulated.
        version: Changes whenever the weights do; part of every cache key.
        usage: Costs so far.
    """

    name: str
    engine: str
    version: str
    usage: Usage

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
        """Answer each chat ``sampling.n`` times.

        Returns:
            ``len(chats)`` lists of ``sampling.n`` texts, in the order of the chats. An empty
            batch gives an empty list.

        Raises:
            EndpointError: A remote model could not answer.
            ModelError: The engine cannot do what the sampling asks for.
        """
        ...


@runtime_checkable
class ScoringModel(LanguageModel, Protocol):
    """A model that also returns log-probabilities and hidden states."""

    def logprobs(self, chats: Sequence[Chat], completions: Sequence[str]) -> list[TokenLogprobs]:
        """Score ``completions[i]`` as the answer to ``chats[i]``, without sampling warpers."""
        ...

    def hidden(self, chats: Sequence[Chat], layers: Sequence[int]) -> Array:
        """Pool hidden states over the tokens of each chat's last message.

        Args:
            chats: Complete chats; the states are those of the last message.
            layers: Indices into the hidden states; 0 is the embedding.

        Returns:
            Shape (n, len(layers), 2, d): [..., 0, :] is the mean over the message's tokens,
            [..., 1, :] the state at its last token. It depends on neither padding nor batching
            beyond rounding.
        """
        ...
