from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from custodes.conversation import Chat
from custodes.diff.contrast.search import divergences, search_prompts
from custodes.errors import ConfigError
from custodes.models.base import Array, Sampling, TokenLogprobs, Usage

PROMPTS = ["Tell me about the weather today", "How do I bake bread", "Explain gravity to me"]


class Model:
    """Answers with the prompt; is surprised by words it does not like."""

    engine, version, name = "simulated", "0", "m"

    def __init__(self, disliked: str) -> None:
        self.disliked, self.usage = disliked, Usage()

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
        return [[chat[-1]["content"]] for chat in chats]

    def logprobs(self, chats: Sequence[Chat], completions: Sequence[str]) -> list[TokenLogprobs]:
        return [
            TokenLogprobs(
                tuple(words := text.split()),
                np.array([-9.0 if w == self.disliked else -1.0 for w in words], np.float32),
            )
            for text in completions
        ]

    def hidden(self, chats: Sequence[Chat], layers: Sequence[int]) -> Array:
        raise NotImplementedError


class Proposer(Model):
    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
        return [["- bread bread bread\n- what about dragons and castles?\nnot listed"]] * len(chats)


class Lopsided(Model):
    """Also likes its own answers more than the other model does."""

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
        return [[c[-1]["content"].replace("bread", "cake")] for c in chats]


def test_divergence_is_the_mean_log_ratio_on_each_models_own_answer() -> None:
    a, b = Lopsided("bread"), Model("nothing")
    ((value, said_a, said_b),) = divergences(a, b, ["How do I bake bread"], Sampling())
    assert (said_a, said_b) == ("How do I bake cake", "How do I bake bread")
    assert value == pytest.approx(8 / 5)


def test_the_search_goes_where_the_models_part() -> None:
    a, b = Lopsided("bread"), Model("nothing")
    found = search_prompts(a, b, PROMPTS, rounds=4, width=24, keep=5)
    assert found[0].divergence > 8 / 5
    assert "bread" in found[0].prompt
    assert found[0].round > 0
    assert [f.divergence for f in found] == sorted((f.divergence for f in found), reverse=True)
    assert len({f.prompt for f in found}) == len(found)
    assert found == search_prompts(a, b, PROMPTS, rounds=4, width=24, keep=5)


def test_a_proposer_is_asked_and_its_lists_are_read() -> None:
    a, b = Lopsided("bread"), Model("nothing")
    found = search_prompts(a, b, PROMPTS, rounds=1, proposer=Proposer("x"))
    assert found[0].prompt == "bread bread bread"
    assert "not listed" not in {f.prompt for f in found}


def test_nothing_to_begin_with_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 prompts"):
        search_prompts(Model("x"), Model("y"), [])
