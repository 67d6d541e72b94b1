from __future__ import annotations

from pathlib import Path

import pytest

from custodes.conversation import user_chat
from custodes.models.base import LanguageModel, Sampling
from custodes.models.cached import RememberedModel
from support.scripted import ScriptedModel


def never() -> LanguageModel:
    raise AssertionError("the model was loaded")


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    inner = ScriptedModel(str.upper)
    chats = [user_chat(f"q{k % 40}") for k in range(80)]
    model = RememberedModel("m", lambda: inner, tmp_path / "m.jsonl")
    said = model.generate(chats, Sampling(n=2))
    assert said[3] == ["Q3", "Q3"]
    assert len(inner.asked) == 40
    again = RememberedModel("m", never, tmp_path / "m.jsonl")
    assert again.generate(chats, Sampling(n=2)) == said


@pytest.mark.parametrize("other", [Sampling(n=2, seed=1), Sampling(n=2, max_tokens=3)])
def test_another_question_is_asked(tmp_path: Path, other: Sampling) -> None:
    inner = ScriptedModel(str.upper)
    model = RememberedModel("m", lambda: inner, tmp_path / "m.jsonl")
    model.generate([user_chat("q")], Sampling(n=2))
    model.generate([user_chat("q")], other)
    model.generate([user_chat("q", "system")], other)
    RememberedModel("n", lambda: inner, tmp_path / "m.jsonl").generate([user_chat("q")], other)
    assert len(inner.asked) == 4
