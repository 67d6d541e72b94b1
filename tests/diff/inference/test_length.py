"""What vanishes where responses are equally long is only a matter of length."""

from __future__ import annotations

from custodes.diff.compare import compare
from custodes.diff.features.indicators import Indicator
from custodes.diff.inference.length import check_of, cut_to_equal
from custodes.diff.responses import Responses, align
from support.texts import edited, made_up


def test_the_longer_response_is_cut_to_the_length_of_the_other() -> None:
    a = Responses("A", ("p", "q"), ("?", "?"), (("one two\nthree four",), ("x",)))
    b = Responses("B", ("p", "q"), ("?", "?"), (("one two three",), ("x y  z",)))
    assert cut_to_equal(align(a, b)) == ["one two\nthree", "one two three", "x", "x"]


def test_a_behaviour_can_be_looked_for_in_a_cut_text() -> None:
    twice = Indicator("feature", "behaviour", "hedges at least twice", r"(?i)\bmay\b", least=2)
    assert check_of(twice)("It may, or may not.", "")  # type: ignore[misc]
    assert not check_of(twice)("It may.", "")  # type: ignore[misc]
    assert check_of(Indicator("cluster", "cluster", "is about x", "x", form="cluster")) is None
    name = "hedges in its last sentence"
    last = Indicator("feature", "behaviour", name, r"\bmay\b", measure=name)
    assert not check_of(last)("It may. It is.", "")  # type: ignore[misc]


def test_shorter_responses_are_one_finding_about_length() -> None:
    a, b = made_up(160, 1, "A"), made_up(160, 2, "B")
    b = edited(b, set(b.ids), lambda t: " ".join(t.split()[: len(t.split()) // 2]) + ".", "B")
    first = compare(a, b).findings[0]
    assert first.statement.startswith("B is shorter: ")
    assert first.level is not None
    assert first.level.b < first.level.a
    assert "words in the median answer" in first.statement


def test_an_added_sentence_is_no_matter_of_length() -> None:
    a, b = made_up(160, 1, "A"), made_up(160, 2, "B")
    added = "I hope this helps you with all of it, and do come back soon."
    b = edited(b, set(b.ids[:120]), lambda t: f"{t} {added}", "B")
    first = compare(a, b).findings[0]
    assert "“I hope this helps you with all of it, and do come back soon.”" in first.statement
    assert len(first.evidence_b) == 120
