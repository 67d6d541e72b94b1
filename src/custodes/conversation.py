"""What passes between people and models: chats, queries, responses, pairs and demonstrations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

__all__ = [
    "Chat",
    "Demonstration",
    "Message",
    "PreferencePair",
    "Query",
    "Response",
    "user_chat",
]


class Message(TypedDict):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


Chat = Sequence[Message]


def user_chat(prompt: str, system: str | None = None) -> list[Message]:
    """Return a chat with one user message, after an optional system prompt."""
    chat: list[Message] = [{"role": "user", "content": prompt}]
    return [{"role": "system", "content": system}, *chat] if system is not None else chat


@dataclass(frozen=True)
class Query:
    """A prompt with its id: what a User asks, or what the models of a diff are asked.

    Attributes:
        id: Unique within its step or prompt set; the same prompt keeps the same id.
        chat: The whole conversation so far; its last message is the user's.
        domain: The domain whose Expert rates the answer; "" where nobody rates it.
        topic: A finer label within the domain, "" if there is none.
    """

    id: str
    chat: tuple[Message, ...]
    domain: str = ""
    topic: str = ""

    @property
    def text(self) -> str:
        """The user's last message."""
        return self.chat[-1]["content"]

    @property
    def transcript(self) -> str:
        """The conversation without its system prompt, as reports show it."""
        turns = [message for message in self.chat if message["role"] != "system"]
        if len(turns) == 1:
            return turns[0]["content"]
        return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


@dataclass(frozen=True)
class Response:
    """A Worker's answer, and the checkpoint that gave it.

    Attributes:
        text: The answer, untrusted.
        checkpoint: Number of the checkpoint, 0 being the base.
        version: The serving model's version.
    """

    text: str
    checkpoint: int
    version: str


@dataclass(frozen=True)
class PreferencePair:
    """Two answers to one conversation, one of them preferred by people or Experts.

    Attributes:
        id: The file's, else a hash of the content.
        prompt: The conversation; its last message is the user's.
        chosen: The preferred answer.
        rejected: The other answer.
        agreement: Share of annotators who preferred ``chosen``, in (0, 1]. Experts are fitted with
            it as a weight; training does not use it.
    """

    id: str
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    agreement: float = 1.0


@dataclass(frozen=True)
class Demonstration:
    """A conversation and an answer to learn.

    Attributes:
        id: The file's, else a hash of the content.
        prompt: The conversation; its last message is the user's.
        response: The answer to learn.
    """

    id: str
    prompt: tuple[Message, ...]
    response: str
