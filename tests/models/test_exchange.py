"""Exchanges: the same numbers as the engine's own methods, whatever the batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from custodes.conversation import Message, user_chat
from custodes.models.exchange import ALONE_TOKENS, GIVEN_TOKENS
from custodes.models.torch import TorchModel

CHATS = [user_chat("one two three"), user_chat("a"), user_chat("one two three"), user_chat("b")]
ANSWERS = ["four five six.", "b c", "seven", ""]


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> TorchModel:
    return TorchModel(tiny_model_dir, dtype="float32")


def test_likelihoods_and_states_are_those_of_the_engine(model: TorchModel) -> None:
    read = model.exchanges(CHATS, ANSWERS, [0, 1])
    whole = [
        [*c, Message(role="assistant", content=a)] for c, a in zip(CHATS, ANSWERS, strict=True)
    ]
    states = model.hidden(whole, [0, 1])

    for i, told in enumerate(model.logprobs(CHATS, ANSWERS)):
        np.testing.assert_allclose(read.given[i], told.logprobs[:GIVEN_TOKENS], atol=1e-4)
        assert len(read.alone[i]) == min(len(told.tokens), ALONE_TOKENS)
    for i in range(3):
        np.testing.assert_allclose(read.states[i, :, 1:3], states[i], atol=1e-4)
    # Both answers to one prompt begin at the same state.
    np.testing.assert_allclose(read.states[0, :, 0], read.states[2, :, 0], atol=1e-5)
    assert (read.end_given < 0).all()


def test_neither_batch_nor_budget_changes_anything(model: TorchModel) -> None:
    from custodes.models.exchange import read_exchanges

    together = model.exchanges(CHATS, ANSWERS, [1])
    small = read_exchanges(model.model, model.tokenizer, CHATS, ANSWERS, [1], budget=1)

    np.testing.assert_allclose(together.states, small.states, atol=1e-4)
    np.testing.assert_allclose(together.end_given, small.end_given, atol=1e-4)
    for i in range(len(CHATS)):
        np.testing.assert_allclose(together.given[i], small.given[i], atol=1e-4)
        np.testing.assert_allclose(together.alone[i], small.alone[i], atol=1e-4)


def test_without_the_prompt_the_prompt_does_not_matter(model: TorchModel) -> None:
    read = model.exchanges([user_chat("x y z"), user_chat("q")], ["four five"] * 2, [1])

    np.testing.assert_allclose(read.alone[0], read.alone[1], atol=1e-4)
    assert np.abs(read.given[0] - read.given[1]).max() > 1e-6


def test_nothing_to_read(model: TorchModel) -> None:
    assert model.exchanges([], [], [1]).states.shape[0] == 0


def test_the_verdict_is_the_state_at_the_end_of_the_question_behind_the_answer(
    model: TorchModel,
) -> None:
    import torch

    from custodes.models.chat import encode_chats, encode_texts
    from custodes.models.exchange import QUESTION, VERDICT

    read = model.exchanges(CHATS, ANSWERS, [0, 1])
    for i, (chat, answer) in enumerate(zip(CHATS, ANSWERS, strict=True)):
        asked = [
            *chat,
            Message(role="assistant", content=answer),
            Message(role="user", content=QUESTION),
        ]
        ids = [
            *encode_chats(model.tokenizer, [asked])[0],
            *encode_texts(model.tokenizer, [VERDICT])[0],
        ]
        with torch.no_grad():
            told = model.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
        plain = [told.hidden_states[layer][0, -1].numpy() for layer in (0, 1)]
        np.testing.assert_allclose(read.states[i, :, 3], plain, atol=1e-4)
