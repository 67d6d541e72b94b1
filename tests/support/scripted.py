"""A language model that says what a function tells it to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from custodes.conversation import Chat
from custodes.models.base import Sampling, Usage


class ScriptedModel:
    """Answers each chat by a function of its last message.

    Attributes:
        asked: Every chat it was shown.
    """

    engine = "scripted"

    def __init__(self, reply: Callable[[str], str], version: str = "1") -> None:
        self.reply = reply
        self.name = "scripted"
        self.version = version
        self.usage = Usage()
        self.asked: list[Chat] = []

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
        self.asked += chats
        return [[self.reply(chat[-1]["content"])] * sampling.n for chat in chats]
