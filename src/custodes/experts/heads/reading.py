"""What a head reads of an answer: hidden states of a frozen model, likelihood, wording, stance.

All of it comes from one pass of the model with the prompt and one without
(`custodes.models.exchange`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from custodes.conversation import Chat, Message
from custodes.experts.heads.scoring import Features
from custodes.experts.likelihood_features import LIKELIHOOD_FEATURES, likelihood_features
from custodes.experts.text_features import STANCE_FEATURES, TEXT_FEATURES, text_features
from custodes.models.base import Array
from custodes.models.exchange import PLACES, ExchangeModel
from custodes.progress import Progress, silent

__all__ = ["SCALARS", "Reading", "assemble", "cut", "read_features", "trimmed"]

CONVERSATION_BYTES = 800
RESPONSE_BYTES = 2_000
"""A byte is a token at worst, so that the longest chat fits any model with 8192 positions."""

SCALARS: tuple[str, ...] = (*LIKELIHOOD_FEATURES, *TEXT_FEATURES)
"""Names of all scalars, in the order of the columns."""

# Exchanges handed to the model at once: enough for it to sort them by length, few enough to show
# how far it is.
_PORTION = 128


@dataclass(frozen=True)
class Reading:
    """One vector that a head reads.

    Attributes:
        layer: Index into the hidden states; 0 is the embedding.
        place: Before the answer's first token ("start", which knows the prompt alone), the mean
            over its tokens, at its last token, or behind it, where the model is about to say how
            good it was ("verdict").
    """

    layer: int
    place: Literal["start", "mean", "last", "verdict"] = "mean"


def read_features(
    model: ExchangeModel,
    chats: Sequence[Chat],
    responses: Sequence[str],
    readings: Sequence[Reading],
    start: Reading,
    scalars: Sequence[str] = SCALARS,
    progress: Progress = silent,
) -> Features:
    """Read ``responses[i]`` as the answer to ``chats[i]``.

    Args:
        model: The frozen base.
        chats: Conversations up to where the answer is due.
        responses: The answers, untrusted.
        readings: What to read of the hidden states; its order is the order of the features.
        start: Where the prompt's harm is read.
        scalars: Which scalars, by name (`SCALARS`).
        progress: Told how many distinct answers have been read.
    """
    asked = [trimmed(chat) for chat in chats]
    answers = [cut(response, RESPONSE_BYTES) for response in responses]
    # The same answer to the same question is read once: best-of-n and pairs of one prompt repeat.
    keys = [json.dumps([chat, text]) for chat, text in zip(asked, answers, strict=True)]
    row_of = {key: row for row, key in enumerate(dict.fromkeys(keys))}
    once = [keys.index(key) for key in row_of]
    layers = sorted({reading.layer for reading in (*readings, start)})
    states: list[Array] = []
    likelihood: list[Array] = []
    for at in range(0, len(once), _PORTION):
        progress("reading answers", at, len(once))
        part = once[at : at + _PORTION]
        read = model.exchanges([asked[i] for i in part], [answers[i] for i in part], layers)
        states.append(read.states)
        likelihood.append(likelihood_features(read))
    progress("reading answers", len(once), len(once))
    wording = [text_features(asked[i][-1]["content"], answers[i]) for i in once]
    if not once:
        empty = np.zeros((0, 0), np.float32)
        return Features(empty, empty, empty, np.zeros((0, 3), np.float32))
    return assemble(
        np.concatenate(states),
        np.concatenate(likelihood),
        np.stack(wording),
        layers,
        readings,
        start,
        scalars,
    )[np.array([row_of[key] for key in keys])]


def assemble(
    states_NLPD: Array,
    likelihood: Array,
    wording: Array,
    layers: Sequence[int],
    readings: Sequence[Reading],
    start: Reading,
    scalars: Sequence[str],
) -> Features:
    """Pick what a head reads from what the model gave."""
    picked = [
        states_NLPD[:, layers.index(reading.layer), PLACES.index(reading.place)]
        for reading in (*readings, start)
    ]
    columns = np.concatenate([likelihood, wording], axis=1)
    stance = [TEXT_FEATURES.index(name) for name in STANCE_FEATURES]
    return Features(
        hidden=np.concatenate(picked[:-1], axis=1) if readings else picked[-1][:, :0],
        start=picked[-1],
        scalars=columns[:, [SCALARS.index(name) for name in scalars]],
        stance=wording[:, stance],
    )


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


def cut(text: str, size: int = RESPONSE_BYTES) -> str:
    """Keep the first bytes of a text, as whole characters; half a character becomes "?"."""
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore")
