from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from custodes.conversation import Chat
from custodes.diff.compare import Diff, compare
from custodes.diff.labeler import (
    label,
    main_share,
    read_answer,
    read_proposals,
    with_labels,
)
from custodes.errors import DataError
from custodes.models.base import Sampling, Usage
from support.texts import edited, made_up


class Scripted:
    """A labeler that always proposes the same, and a judge with a rule."""

    engine, version, name = "simulated", "0", "scripted"

    def __init__(self, proposals: str, judge: str = "honest") -> None:
        self.proposals, self.judge, self.usage = proposals, judge, Usage()
        self.asked: list[str] = []

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
        self.asked += [chat[-1]["content"] for chat in chats]
        return [[self._reply(chat[-1]["content"])] for chat in chats]

    def _reply(self, asked: str) -> str:
        if "Two writers" in asked:
            return self.proposals
        if self.judge == "first word":
            return "yes" if "yes or no" in asked else "no"
        if self.judge == "babbles":
            return "It depends."
        word = asked.split("Statement: The answer mentions ")[1].split("\n", maxsplit=1)[0]
        return (
            "Yes"
            if word in asked.split("Answer: ")[1].split("\n\nIs the", maxsplit=1)[0]
            else "no."
        )


@pytest.fixture(scope="module")
def diff() -> Diff:
    a, b = made_up(160, 1, "A"), made_up(160, 2, "B")
    planted = set(np.random.default_rng(0).choice(b.ids, 80, replace=False))
    return compare(a, edited(b, planted, lambda t: f"{t} Ahoy!", "B"), fdr=main_share(0.1))


GOOD = "Here they are:\n- The answer mentions Ahoy.\n- The answer mentions zebras"


def test_a_true_hypothesis_passes_and_a_false_one_does_not(diff: Diff) -> None:
    model = Scripted(GOOD)
    labelled = {one.finding.behaviour: one for one in label(diff, model, model, fdr=0.1)}
    ahoy = labelled["The answer mentions Ahoy"]
    assert ahoy.passed
    assert ahoy.finding.size.effect > 0.3
    assert ahoy.right == pytest.approx(ahoy.finding.size.effect)
    assert ahoy.abstained == 0
    assert ahoy.baseline > 0.3
    assert not labelled["The answer mentions zebras"].passed
    added = with_labels(diff, list(labelled.values()))
    assert [f.kind for f in added.findings].count("llm") == 1


@pytest.mark.parametrize("judge", ["first word", "babbles"])
def test_a_judge_that_does_not_read_confirms_nothing(diff: Diff, judge: str) -> None:
    labelled = label(diff, Scripted(GOOD), Scripted(GOOD, judge), fdr=0.1)
    assert labelled
    for one in labelled:
        assert one.abstained == 1
        assert one.right == 0
        assert not one.passed


def test_proposer_and_judge_see_different_prompts_and_no_names(diff: Diff) -> None:
    labeler, judge = Scripted(GOOD), Scripted(GOOD)
    label(diff, labeler, judge, fdr=0.1)
    seen = {p for p in diff.aligned.prompts if any(f"{p}\n" in asked for asked in labeler.asked)}
    checked = {p for p in diff.aligned.prompts if any(f"{p}\n" in asked for asked in judge.asked)}
    assert seen
    assert checked
    assert not seen & checked


def test_replies_are_read_strictly() -> None:
    assert read_proposals("The answer is nice\n- Answers are short:\n* ignore this") == [
        "The answer are short"
    ]
    assert read_proposals("- The answer " + "word " * 60) == []
    assert read_proposals("- The answer of Y is longer\n- The answer is longer than others") == []
    assert [read_answer(r) for r in ("YES", "'no'", "yes, because", "")] == [1, 0, -1, -1]


def test_too_few_prompts_are_refused() -> None:
    few = compare(made_up(10, 1, "A"), made_up(10, 2, "B"))
    model = Scripted(GOOD)
    with pytest.raises(DataError, match="10 shared prompts"):
        label(few, model, model, fdr=0.1)
