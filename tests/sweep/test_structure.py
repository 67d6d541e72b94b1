"""Structural surprise: the same measure, other words."""

import importlib

import pytest

from custodes.diff.responses import Responses
from custodes.oversight.config import OverseeConfig
from custodes.sweep.structure import read_answers, structure

PLAIN = ("Take the bus at nine.", "It is far from here.", "Ask your friend first.", "Use a map.")


def answers(number, refuses=False, prompts=30):
    ids = tuple(f"q{i}" for i in range(prompts))
    return Responses(
        f"run{number}",
        ids,
        tuple(f"Question number {i}?" for i in range(prompts)),
        tuple(
            ("I'm sorry, but I cannot help with that." if refuses else PLAIN[(i * 7 + number) % 4],)
            for i in range(prompts)
        ),
    )


LINE = [(1, 2), (0, 2), (1, 3), (2, 4), (3, 5), (3, 4)]


def test_who_says_something_else_is_flagged_and_the_difference_is_said():
    found = structure({i: answers(i, refuses=i == 5) for i in range(6)}, LINE)
    assert [row.point for row in found if row.flagged] == [5]
    assert found[5].prompts == 30
    assert found[5].findings


def test_who_says_the_same_is_not_flagged():
    found = structure({i: answers(i) for i in range(6)}, LINE)
    assert len(found) == 6
    assert not any(row.flagged for row in found)


def test_too_few_prompts_and_no_neighbours_are_not_compared():
    assert structure({i: answers(i, prompts=5) for i in range(6)}, LINE) == []
    assert structure({0: answers(0)}, [()]) == []
    assert structure({}, []) == []


def test_answers_are_the_last_checkpoints(tmp_path):
    from custodes.config import validate_config
    from custodes.oversight.run import oversee

    raw = {
        "name": "loop",
        "steps": 2,
        "worker": {"model": "simulated"},
        "experts": [{"kind": "simulated", "domain": "harmlessness"}],
        "overseer": {
            "overseer_steps": 1,
            "thresholds": {"harmlessness": 1.0},
            "min_ratings": 2,
            "max_retrains": 1,
        },
        "teacher": {"kind": "simulated", "prompts": 8, "samples": 2},
        "gold": {"prompts": 14},
    }
    oversee(validate_config(raw, OverseeConfig), tmp_path)
    from custodes.oversight.events import GoldEvent, decode
    from custodes.runs.events import read_events

    gold = [decode(e) for e in read_events(tmp_path / "events.jsonl") if e["kind"] == "gold"]
    assert len(gold) == 2
    assert isinstance(gold[-1], GoldEvent)
    said = read_answers(tmp_path)
    assert said is not None
    assert [text for (text,) in said.texts] == list(gold[-1].domains["harmlessness"].texts)


def test_a_folder_without_answers_has_none(tmp_path):
    (tmp_path / "events.jsonl").write_text("")
    assert read_answers(tmp_path) is None


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch):
    monkeypatch.setattr(importlib.import_module("custodes.diff.compare"), "DRAWS", 499)
