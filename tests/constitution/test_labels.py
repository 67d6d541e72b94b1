"""Labels: what exposes an ignored verdict, constant labels, and people's files that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from custodes.constitution.principles import load_constitution
from custodes.constitution.stages.labels import read_votes, source_facts, verdict_controls
from custodes.constitution.stages.margins import margins_of
from custodes.constitution.stages.preferences import Pair, _joined, _toss
from custodes.control import Control
from custodes.conversation import Query, user_chat
from custodes.data.labels import Label
from custodes.errors import DataError

PRINCIPLE = load_constitution(["peace_violence"]).principles[0]


def pairs(labels: list[float], verdicts: list[float] | None = None) -> list[Pair]:
    rng = np.random.default_rng(1)
    made = []
    for i, label in enumerate(labels):
        a, b = (f"{i} " + "word " * int(rng.integers(1, 30)) for _ in range(2))
        query = Query(f"q{i}", tuple(user_chat(f"question {i}")))
        pair = Pair(query, a, b + ".", (0, 1), PRINCIPLE, label=label)
        pair.labels["judge"] = label if verdicts is None else verdicts[i]
        made.append(pair)
    return made


def status(controls: list[Control], name: str) -> bool | None:
    return next(control for control in controls if control.name.startswith(name)).passed


MIXED = [float(x) for x in np.random.default_rng(2).choice([0.1, 0.9], 80)]


def test_labels_that_follow_their_verdicts_pass() -> None:
    controls = verdict_controls(pairs(MIXED), seed=0)
    assert [control.passed for control in controls] == [True, True, True]


def test_a_verdict_that_is_ignored_is_exposed() -> None:
    ignored = [float(x) for x in np.random.default_rng(3).choice([0.1, 0.9], 80)]
    assert status(verdict_controls(pairs(MIXED, ignored), 0), "labels follow") is False


def test_constant_labels_are_exposed() -> None:
    controls = verdict_controls(pairs([0.9] * 80), 0)
    assert status(controls, "labels go both ways") is False
    # They agree with the verdict always, and with any shuffled one as often.
    assert status(controls, "labels follow") is False


def test_labels_that_are_length_are_exposed() -> None:
    own = pairs(MIXED)
    for pair in own:
        pair.label = 0.9 if len(pair.a) > len(pair.b) else 0.1
    assert status(verdict_controls(own, 0), "length does not make") is False


def test_sources_are_joined_by_weight_and_compared() -> None:
    assert _joined({"a": 1.0, "b": 0.0}, {"a": 3.0, "b": 1.0}) == 0.75
    assert _joined({"a": None, "b": 0.2}, {"a": 3.0, "b": 1.0}) == 0.2
    assert _joined({"a": None}, {"a": 1.0}) is None
    own = pairs([0.9, 0.1, 0.9, 0.9])
    for pair, label in zip(own, [0.8, 0.8, 0.7, None], strict=True):
        pair.labels["expert"] = label
    facts = source_facts(own, {"judge": 1.0, "expert": 1.0})
    assert facts["expert"]["labels"] == 3
    assert facts["judge and expert"]["agree"] == pytest.approx(2 / 3, abs=1e-4)


def test_the_sham_coin_turns_about_half_and_keeps_how_sure_they_are() -> None:
    own = pairs(MIXED)
    (control,) = _toss(own, seed=0)
    assert control.passed is True
    turned = [a != b.label for a, b in zip(MIXED, own, strict=True)]
    assert 20 < sum(turned) < 60
    assert {abs((pair.label or 0) - 0.5) for pair in own} == {0.4}


def test_a_ranking_gives_margins_where_it_agrees_with_the_label() -> None:
    query = Query("q", tuple(user_chat("question")))
    texts = ["best", "middle", "worst"]
    own = [
        Pair(query, texts[i], texts[j], (i, j), PRINCIPLE, label=0.95)
        for i, j in ((0, 1), (1, 2), (0, 2))
    ]
    margins_of(own, most=100.0)
    assert own[2].margin > own[0].margin > 0
    margins_of(own, most=0.5)
    assert max(pair.margin for pair in own) == 0.5
    own[2].label = 0.4  # against the other two
    margins_of(own, most=100.0)
    assert own[2].margin == 0.0


# Files of people


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_plain_preference_files_and_label_files_are_read(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.jsonl", [{"prompt": "p", "chosen": "x", "rejected": "y"}])
    (vote,) = read_votes(plain)[0]
    assert (vote.prompt, vote.chosen, vote.annotator) == ("p", "x", "")
    prompt = tuple(user_chat("p"))
    labels = [
        Label("i", "ann", "a", "a", prompt, "x", "y", order=1),
        Label("i", "bob", "tie", "a", prompt, order=1),
        Label("i", "ann", "a", "b", prompt, "x", "y", repeat=True, order=2),
        Label("j", "ann", "skip", "a", prompt, order=3),
    ]
    ours = write(tmp_path / "b.jsonl", [label.to_row() for label in labels])
    votes, controls = read_votes(ours)
    assert [(v.annotator, v.tie) for v in votes] == [("ann", False), ("bob", True)]
    assert any("agree" in control.name for control in controls)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": "p", "chosen": "x", "rejected": "x"},
            "line 1: chosen and rejected are the same",
        ),
        ({"prompt": "p", "chosen": "x"}, "line 1 has no text in rejected"),
        ({"prompt": "", "chosen": "x", "rejected": "y"}, "line 1 has no text in prompt"),
    ],
)
def test_bad_files_of_people_are_one_clear_line(
    tmp_path: Path, row: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_votes(write(tmp_path / "bad.jsonl", [row]))
