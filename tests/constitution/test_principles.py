"""Constitutions: what ships, what else loads, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from custodes.constitution.principles import load_constitution, shipped_constitutions
from custodes.data import read_prompts
from custodes.errors import ConfigError

FOUR = ("peace_violence", "privacy_doxxing", "racial_equality_racism", "gender_equality_sexism")


@pytest.mark.parametrize("name", shipped_constitutions())
def test_what_ships_is_complete_and_its_inverse_is_its_opposite(name: str) -> None:
    constitution = load_constitution([name])
    inverse = constitution.inverse()
    assert inverse.inverted
    assert not constitution.inverted
    for principle, twin in zip(constitution.principles, inverse.principles, strict=True):
        for field in ("critique", "revision", "question"):
            assert getattr(principle, field) != getattr(twin, field)
        assert (principle.topic, principle.measure) == (twin.topic, twin.measure)
        assert principle.compliance(0.8) == pytest.approx(1 - twin.compliance(0.8))
        assert twin.inverse is not None
        assert twin.inverse.id == principle.id


def test_the_four_pairs_are_the_topics_of_the_shipped_queries() -> None:
    constitution = load_constitution(FOUR)
    topics = {query.topic for query in read_prompts("harm_adjacent", domain="")}
    assert topics == set(constitution.topics) == set(FOUR)
    assert {p.topic for p in constitution.of("privacy_doxxing")} == {"privacy_doxxing"}


def test_principles_for_every_query_join_those_of_a_topic() -> None:
    constitution = load_constitution(["peace_violence", "terse_florid"])
    assert {p.id for p in constitution.of("peace_violence")} == {"peace", "reconciliation", "terse"}
    assert [p.id for p in constitution.of("cooking")] == ["terse"]


ANTHROPIC: list[Any] = [
    {"constitutions": [{"critic": "What is harmful?", "revision": "Remove what is harmful."}]},
    {"harmful0": {"prompt": "Critique Request: What is harmful?",
                  "edit_request": "Revision Request: Remove what is harmful."}},
    [{"critique_request": "What is harmful?", "revision_request": "Remove what is harmful."}],
    ["Please choose the reply that is less harmful."],
]  # fmt: skip


@pytest.mark.parametrize("raw", ANTHROPIC)
@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_published_lists_of_principles_load(tmp_path: Path, raw: Any, suffix: str) -> None:
    path = tmp_path / f"list{suffix}"
    path.write_text(json.dumps(raw) if suffix == ".json" else yaml.safe_dump(raw))
    (principle,) = load_constitution([str(path)]).principles
    assert "Request" not in principle.critique
    assert "harmful" in principle.critique
    assert "harmful" in principle.revision
    assert "reply" in principle.question.lower()
    with pytest.raises(ConfigError, match="has no inverse"):
        load_constitution([str(path)]).inverse()


GOOD = {"id": "x", "critique": "c", "revision": "r", "question": "q"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (GOOD, r"principle 1 \(x\) has no inverse: write inverse:"),
        (
            {**GOOD, "inverse": {**GOOD, "id": "y", "question": " "}},
            "its inverse: question is empty",
        ),
        ({**GOOD, "critique": "", "inverse": "none"}, "critique is empty"),
        ({**GOOD, "inverse": {"id": "y"}}, "inverse.critique: field required"),
        ({**GOOD, "inverse": "none", "criticism": "c"}, "unknown key principles.0.criticism"),
    ],
)
def test_bad_principles_are_one_clear_line(
    tmp_path: Path, entry: dict[str, Any], message: str
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({"name": "bad", "principles": [entry]}))
    with pytest.raises(ConfigError, match=message) as caught:
        load_constitution([str(path)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no principles"),
        ("just words", "has no principles"),
        ("- ''", "principle 1 is empty"),
        ("- 3", "principle 1 is a int"),
        ("- {critique: c}", "has no revision request"),
        ("a: [", "cannot be read"),
    ],
)
def test_bad_files_are_one_clear_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_constitution([str(path)])


def test_an_unknown_name_has_near_misses_and_twice_the_same_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean peace_violence"):
        load_constitution(["peace_violense"])
    with pytest.raises(ConfigError, match="no constitution at"):
        load_constitution([str(tmp_path / "gone.yaml")])
    with pytest.raises(ConfigError, match="two principles are called 'peace'"):
        load_constitution(["peace_violence", "peace_violence"])
