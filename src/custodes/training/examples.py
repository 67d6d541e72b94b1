"""What is trained on: conversations with their answers, as token ids, in batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from custodes.conversation import Chat
from custodes.errors import DataError
from custodes.models.chat import encode_chats, encode_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Encoded", "TrainingSet", "batched_order", "encode_examples", "fingerprint"]


SLACK = 2
"""Text that was cut off after n tokens can encode to fewer: of 803 answers of the bundled model
that were cut at 64 tokens, 60 encode to 63 and 12 to 62."""


@dataclass(frozen=True)
class Encoded:
    """One conversation and its answers, as token ids.

    Attributes:
        index: Position among the examples that were given.
        prompt: Token ids up to the header of the assistant's turn.
        answers: One for a demonstration; the chosen and the rejected one for a pair.
    """

    index: int
    prompt: list[int]
    answers: tuple[list[int], ...]

    @property
    def length(self) -> int:
        """Tokens in all, the prompt counted once."""
        return len(self.prompt) + sum(map(len, self.answers))


def encode_examples(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Chat],
    answers: Sequence[tuple[str, ...]],
    *,
    max_answer: int,
    max_length: int,
) -> list[Encoded]:
    """Encode conversations and answers as the Worker sees and writes them.

    An answer that is complete ends with the end-of-turn token. One that is as long as the Worker
    may answer (within `SLACK`) does not: it was cut off when it was sampled, and is no example of
    how to end.

    Args:
        tokenizer: With a chat template.
        prompts: n conversations whose last message is the user's.
        answers: n tuples of answers, all of one size.
        max_answer: Longest answer, in tokens (>= 1); what goes beyond is cut.
        max_length: Longest prompt and answer, in tokens. What of an answer goes beyond is cut.

    Returns:
        The examples in their order. Those are left out whose prompt is so long that not one token
        of an answer fits, and pairs whose answers are the same tokens after cutting.

    Raises:
        DataError: None is left.
    """
    encoded = encode_chats(tokenizer, prompts, reply=True)
    flat = iter(encode_texts(tokenizer, [text for texts in answers for text in texts]))
    end = [tokenizer.eos_token_id]
    examples = []
    for index, (prompt, texts) in enumerate(zip(encoded, answers, strict=True)):
        room = min(max_answer, max_length - len(prompt))
        whole = [next(flat) for _ in texts]
        cut = tuple(
            (ids + end if len(ids) < max_answer - SLACK else ids)[: max(room, 0)] for ids in whole
        )
        distinct = len(cut) == 1 or cut[0] != cut[1]
        if room >= 1 and distinct:
            examples.append(Encoded(index, prompt, cut))
    if not examples:
        raise DataError(
            f"none of {len(prompts)} examples can be trained on",
            f"each must have a prompt shorter than max_length ({max_length} tokens), and a pair "
            "two answers that differ",
        )
    return examples


@dataclass(frozen=True)
class TrainingSet:
    """Examples in the order of training, as a trainer of trl reads them.

    Attributes:
        columns: One dict of token ids for each example.
        examples: The examples that are used, in the order they were given.
        left_out: Number of examples that could not be used.
    """

    columns: list[dict[str, Any]]
    examples: list[Encoded]
    left_out: int

    @staticmethod
    def of(
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[Chat],
        answers: Sequence[tuple[str, ...]],
        columns: Callable[[Encoded], dict[str, Any]],
        *,
        max_answer: int,
        max_length: int,
        batch: int,
        seed: int,
    ) -> TrainingSet:
        """Encode examples and order them into batches of about equal length.

        Args:
            tokenizer, prompts, answers, max_answer, max_length: As in `encode_examples`.
            columns: Turns an example into what the method's trainer reads.
            batch: Examples a step.
            seed: Shuffles the batches.

        Raises:
            DataError: No example can be used.
        """
        examples = encode_examples(
            tokenizer, prompts, answers, max_answer=max_answer, max_length=max_length
        )
        order = batched_order([example.length for example in examples], batch, seed)
        return TrainingSet(
            columns=[columns(examples[i]) for i in order],
            examples=examples,
            left_out=len(prompts) - len(examples),
        )


def batched_order(lengths: Sequence[int], size: int, seed: int) -> list[int]:
    """Order examples so that consecutive batches hold examples of about equal length.

    The batches come in random order; the one that is not full comes last.

    >>> batched_order([5, 1, 6, 2, 9], 2, seed=0)
    [3, 1, 2, 0, 4]
    """
    by_length = sorted(range(len(lengths)), key=lambda i: lengths[i])
    full = len(lengths) // size
    batches = [by_length[i * size : (i + 1) * size][::-1] for i in range(full)]
    order = np.random.default_rng(seed).permutation(full)
    return [i for batch in order for i in batches[batch]] + by_length[full * size :]


def fingerprint(examples: Sequence[Any]) -> str:
    """Return the SHA-256 of JSON-ready data, in hex."""
    text = json.dumps(examples, ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
