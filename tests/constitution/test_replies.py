"""Replies are kept batch by batch, and a resumed stage asks for nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from custodes.constitution.replies import BATCH, Replies
from custodes.conversation import Chat, user_chat
from custodes.errors import EndpointError
from custodes.models.base import Sampling
from support.scripted import ScriptedModel

CHATS: list[Chat] = [user_chat(f"q{i}") for i in range(2 * BATCH + 3)]
SAMPLING = Sampling(max_tokens=4)


def test_an_endpoint_that_fails_halfway_loses_nothing(tmp_path: Path) -> None:
    broken = ScriptedModel(lambda text: text.upper())
    generate = broken.generate

    def failing(chats: list[Chat], sampling: Sampling) -> list[list[str]]:
        if len(broken.asked) >= 2 * BATCH:
            raise EndpointError("the server is gone", "start it")
        return generate(chats, sampling)

    broken.generate = failing  # type: ignore[method-assign, assignment]
    with pytest.raises(EndpointError, match="the server is gone"):
        Replies(tmp_path).texts("x", lambda: broken, "m", CHATS, SAMPLING)
    whole = ScriptedModel(lambda text: text.upper())
    texts = Replies(tmp_path).texts("x", lambda: whole, "m", CHATS, SAMPLING)
    assert [row[0] for row in texts] == [f"Q{i}" for i in range(len(CHATS))]
    assert len(whole.asked) == 3


def test_a_torn_batch_is_asked_again_and_finished_replies_load_no_model(tmp_path: Path) -> None:
    model = ScriptedModel(lambda text: text.upper())
    first = Replies(tmp_path).texts("x", lambda: model, "m", CHATS, SAMPLING)
    path = tmp_path / "x.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    assert Replies(tmp_path).texts("x", lambda: model, "m", CHATS, SAMPLING) == first
    assert len(model.asked) == len(CHATS) + 3

    def never() -> ScriptedModel:
        raise AssertionError("loaded")

    assert Replies(tmp_path).texts("x", never, "m", CHATS, SAMPLING) == first


@pytest.mark.parametrize("change", ["model", "sampling", "chat"])
def test_replies_to_something_else_are_not_used(tmp_path: Path, change: str) -> None:
    model = ScriptedModel(lambda text: text.upper())
    replies = Replies(tmp_path)
    replies.texts("x", lambda: model, "m", CHATS, SAMPLING)
    name = "n" if change == "model" else "m"
    sampling = Sampling(max_tokens=5) if change == "sampling" else SAMPLING
    chats = [*CHATS[:-1], user_chat("another")] if change == "chat" else CHATS
    replies.texts("x", lambda: model, name, chats, sampling)
    assert len(model.asked) == len(CHATS) + (3 if change == "chat" else len(CHATS))
