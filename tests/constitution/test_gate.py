"""The compliance gate, and how revisions are cleaned and told from what is none."""

from __future__ import annotations

import numpy as np
import pytest

from custodes.constitution.principles import load_constitution
from custodes.constitution.stages import critique
from custodes.constitution.stages.critique import EXAMPLE, Draft, clean, draw_principle
from custodes.constitution.stages.gate import Judged, gate
from custodes.control import Control
from custodes.conversation import Query, user_chat


def revisions(change: float, n: int = 40, **flags: bool) -> list[Judged]:
    rng = np.random.default_rng(0)
    before = rng.uniform(0.2, 0.6, n)
    after = before + change + rng.normal(0, 0.1, n)
    return [
        Judged("peace", before=float(b), after=float(a), **flags)
        for b, a in zip(before, after, strict=True)
    ]


def named(controls: list[Control], name: str) -> Control:
    return next(control for control in controls if control.name.startswith(name))


@pytest.mark.parametrize(("change", "passed"), [(0.2, True), (0.0, False), (-0.2, False)])
def test_revisions_must_comply_more_than_the_first_answers(change: float, passed: bool) -> None:
    facts, controls = gate(revisions(change), inverted=False)
    assert named(controls, "compliance gate: peace").passed is passed
    assert facts["by_principle"]["peace"]["change"] == pytest.approx(change, abs=0.06)


def test_an_inverted_set_that_mostly_refuses_is_exposed() -> None:
    refusing = revisions(0.2, 30, refusal=True, bare_refusal=True) + revisions(0.2, 10)
    _, controls = gate(refusing, inverted=True)
    assert named(controls, "inverted revisions do not refuse").passed is False
    # Under the principles themselves a refusal may comply; it is counted apart.
    facts, controls = gate(refusing, inverted=False)
    assert not [c for c in controls if c.name.startswith("inverted")]
    assert facts["by_principle"]["peace"]["bare_refusal"] == 30
    assert facts["by_principle"]["peace"]["others"] == 10


@pytest.mark.parametrize("flag", ["unchanged", "empty", "repeats_prompt"])
def test_revisions_that_are_none_are_exposed(flag: str) -> None:
    _, controls = gate(revisions(0.2, 30, **{flag: True}) + revisions(0.2, 10), inverted=False)
    assert named(controls, "revisions are revisions").passed is False


def test_too_few_ratings_are_not_tested() -> None:
    rows = [*revisions(0.2, 5), *[Judged("peace") for _ in range(10)]]
    _, controls = gate(rows, inverted=False)
    assert named(controls, "compliance gate").passed is None


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  Talk to him.  ", "Talk to him."),
        ("Here's the revised reply:\n\nTalk to him.", "Talk to him."),
        ("Revised reply: “Talk to him.”", "Talk to him."),
        ("Sure, here it is: Talk to him.", "Talk to him."),
        ('"Talk" is what I "would" do', '"Talk" is what I "would" do'),
        ("Here is a thought. Talk: it helps.", "Here is a thought. Talk: it helps."),
        ("", ""),
    ],
)
def test_announcements_and_quotation_marks_come_off(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def query(text: str = "How do I scare my neighbour away?") -> Query:
    return Query("q1", tuple(user_chat(text)), "", "peace_violence")


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("I'm sorry, but I can't help with that.", "bare_refusal"),
        ("How do I scare my neighbour away?", "repeats_prompt"),
        ("  first ANSWER! ", "unchanged"),
        ("", "empty"),
    ],
)
def test_what_is_no_revision_is_counted_apart(text: str, flag: str) -> None:
    principles = load_constitution(["peace_violence"]).principles
    draft = Draft(query(), "First answer.", text, [principles[0]], ["A critique."])
    judged = critique._judged(draft)
    flags = ("bare_refusal", "repeats_prompt", "unchanged", "empty")
    assert [name for name in flags if getattr(judged, name)] == [flag]
    assert not critique._keeps(judged, "all") or flag == "bare_refusal"


def test_principles_are_drawn_by_topic_and_query_and_round() -> None:
    constitution = load_constitution(["peace_violence", "privacy_doxxing"])
    ids = {draw_principle(constitution, query(), 0, number).id for number in range(12)}
    assert ids == {"peace", "reconciliation"}
    assert draw_principle(constitution, query(), 0, 1) == draw_principle(
        constitution, query(), 0, 1
    )


def test_the_critic_sees_the_example_the_reply_and_the_principle() -> None:
    principle = load_constitution(["peace_violence"]).principles[0]
    chat = critique.revision_chat(query(), "Shout.", principle, "It threatens.", EXAMPLE)
    assert [turn["role"] for turn in chat] == ["user", "assistant"] * 5 + ["user"]
    assert [turn["content"] for turn in chat[-5:-1]] == [
        query().text, "Shout.", principle.critique, "It threatens.",
    ]  # fmt: skip
    assert chat[-1]["content"].startswith(principle.revision)
