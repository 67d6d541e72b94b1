"""What a head reads of a frozen model: hidden states at the answer, and at a question about it.

A probe is a short exchange put behind the answer ("Was that a good answer?" - "That answer was").
At its last token the model has to sum the answer up, and what it would go on to say is written in
its state. That holds what the states at the answer's own tokens do not, and costs one more pass.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from custodes.conversation import Chat, Message
from custodes.models.base import Array, ScoringModel
from custodes.progress import Progress, silent

__all__ = ["PROBES", "Reading", "read_features", "trimmed"]

CONVERSATION_BYTES = 2_000
RESPONSE_BYTES = 2_000
"""A byte is a token at worst, so that the longest chat fits any model with 8192 positions."""

_POOLS = ("mean", "last")

# Chats handed to the model at once: enough for it to sort them by length, few enough to show
# how far it is.
_PORTION = 256

PROBES: dict[str, tuple[Message, ...]] = {
    "": (),
    "good": (
        {"role": "user", "content": "Was that a good answer?"},
        {"role": "assistant", "content": "That answer was"},
    ),
}
"""What is put behind the answer, by name; nothing, by the name of ""."""


@dataclass(frozen=True)
class Reading:
    """One vector that a head reads.

    Attributes:
        layer: Index into the hidden states; 0 is the embedding.
        probe: What is put behind the answer first (a name in `PROBES`).
        pool: Mean over the tokens of the last message, or the state at its last token.
    """

    layer: int
    probe: str = ""
    pool: Literal["mean", "last"] = "mean"


def read_features(
    model: ScoringModel,
    chats: Sequence[Chat],
    responses: Sequence[str],
    readings: Sequence[Reading],
    progress: Progress = silent,
) -> Array:
    """Read ``responses[i]`` as the answer to ``chats[i]``.

    Args:
        model: The frozen base.
        chats: Conversations up to where the answer is due.
        responses: The answers, untrusted.
        readings: What to read; its order is the order of the features.
        progress: Told how many distinct answers have been read.

    Returns:
        Shape (n, len(readings) * d), float32.
    """
    asked = [
        (*trimmed(chat), Message(role="assistant", content=cut(response, RESPONSE_BYTES)))
        for chat, response in zip(chats, responses, strict=True)
    ]
    # The same answer to the same question is read once: best-of-n and pairs of one prompt repeat.
    keys = [json.dumps(chat) for chat in asked]
    distinct = dict(zip(keys, asked, strict=True))
    row_of = {key: row for row, key in enumerate(distinct)}
    once = list(distinct.values())
    read: list[Array] = []
    for at in range(0, len(once), _PORTION):
        progress("reading answers", at, len(once))
        read.append(_read(model, once[at : at + _PORTION], readings))
    progress("reading answers", len(once), len(once))
    if not read:
        return np.zeros((0, 0), np.float32)
    return np.concatenate(read)[[row_of[key] for key in keys]]


def trimmed(chat: Chat) -> list[Message]:
    """Keep the end of a conversation: whole messages, the first one a user's, none a system's.

    A system prompt is an instruction to the Worker and no part of what the answer is judged by.
    """
    turns = [message for message in chat if message["role"] != "system"]
    room, kept = CONVERSATION_BYTES, list[Message]()
    for message in reversed(turns):
        content = cut(message["content"], CONVERSATION_BYTES)
        room -= len(content.encode())
        if kept and room < 0:
            break
        kept.append(Message(role=message["role"], content=content))
    while len(kept) > 1 and kept[-1]["role"] != "user":
        kept.pop()
    return kept[::-1]


def _read(
    model: ScoringModel, asked: Sequence[Sequence[Message]], readings: Sequence[Reading]
) -> Array:
    found: dict[Reading, Array] = {}
    for probe in dict.fromkeys(reading.probe for reading in readings):
        these = [reading for reading in readings if reading.probe == probe]
        layers = sorted({reading.layer for reading in these})
        # (n, layers, pools, d)
        states = model.hidden([[*chat, *PROBES[probe]] for chat in asked], layers)
        for reading in these:
            found[reading] = states[:, layers.index(reading.layer), _POOLS.index(reading.pool)]
    return np.concatenate([found[reading] for reading in readings], axis=1)


def cut(text: str, size: int) -> str:
    """Keep the first bytes of a text, as whole characters; half a character becomes "?"."""
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore")
