from __future__ import annotations

from pathlib import Path

import pytest

from custodes.conversation import user_chat
from custodes.models.base import LanguageModel, Sampling
from custodes.models.cached import CachedModel
from support.scripted import ScriptedModel


def never() -> LanguageModel:
    raise AssertionError("the model was loaded")


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    inner = ScriptedModel(str.upper)
    chats = [user_chat(f"q{k % 40}") for k in range(80)]
    model = CachedModel("m", lambda: inner, tmp_path / "m.jsonl", version="1")
    texts = model.generate(chats, Sampling(n=2))
    assert texts[3] == ["Q3", "Q3"]
    assert len(inner.asked) == 40
    again = CachedModel("m", never, tmp_path / "m.jsonl", version="1")
    assert again.generate(chats, Sampling(n=2)) == texts


@pytest.mark.parametrize("other", [Sampling(n=2, seed=1), Sampling(n=2, max_tokens=3)])
def test_another_question_is_asked(tmp_path: Path, other: Sampling) -> None:
    inner = ScriptedModel(str.upper)
    model = CachedModel("m", lambda: inner, tmp_path / "m.jsonl", version="1")
    model.generate([user_chat("q")], Sampling(n=2))
    model.generate([user_chat("q")], other)
    model.generate([user_chat("q", "system")], other)
    second = CachedModel("m", lambda: inner, tmp_path / "m.jsonl", version="2")
    second.generate([user_chat("q")], other)
    assert len(inner.asked) == 4


@pytest.mark.parametrize("known", [True, False])
def test_a_second_model_of_the_same_name_has_its_own_replies(tmp_path: Path, known: bool) -> None:
    models = [ScriptedModel(str.upper, version="1"), ScriptedModel(str.lower, version="2")]
    texts = [
        CachedModel(
            "m",
            lambda model=model: model,  # type: ignore[misc]
            tmp_path / "m.jsonl",
            version=model.version if known else None,
        ).generate([user_chat("Q")], Sampling())
        for model in models
    ]
    assert texts == [[["Q"]], [["q"]]]


def test_a_model_under_another_name_shares_its_replies(tmp_path: Path) -> None:
    one = CachedModel("m", lambda: ScriptedModel(str.upper), tmp_path / "m.jsonl", version="1")
    one.generate([user_chat("q")], Sampling())
    other = CachedModel("n", never, tmp_path / "m.jsonl", version="1")
    assert other.generate([user_chat("q")], Sampling()) == [["Q"]]


def test_without_a_version_the_model_is_loaded_once(tmp_path: Path) -> None:
    loads = []

    def load() -> LanguageModel:
        loads.append(1)
        return ScriptedModel(str.upper, version="7")

    model = CachedModel("m", load, tmp_path / "m.jsonl")
    assert (model.version, model.engine) == ("7", "scripted")
    model.generate([user_chat("q")], Sampling())
    assert loads == [1]
