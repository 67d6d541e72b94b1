"""The control of pairs that nobody doubts: whoever is wrong about them fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from custodes.conversation import Query
from custodes.experts import NullExpert
from custodes.experts.expert import Rating
from custodes.experts.sanity import sanity_control, sanity_pairs

DOMAINS = ("helpfulness", "harmlessness")


class Scripted:
    """Rates by a function of the answer."""

    name = "scripted"

    def __init__(self, domain: str, value: Callable[[str], float | None]) -> None:
        self.domain, self.value = domain, value

    def rate(self, queries: Sequence[Query], responses: Sequence[str]) -> list[Rating]:
        return [Rating(self.value(text)) for text in responses]


def knowing(domain: str) -> Scripted:
    better = {pair.chosen for pair in sanity_pairs(domain)}
    return Scripted(domain, lambda text: 0.8 if text in better else 0.3)


@pytest.mark.parametrize("domain", DOMAINS)
def test_who_knows_passes(domain: str) -> None:
    control = sanity_control(knowing(domain))

    assert control.passed
    assert control.figures["share"] == 1


@pytest.mark.parametrize("domain", DOMAINS)
def test_one_minus_v_fails(domain: str) -> None:
    right = knowing(domain)

    control = sanity_control(Scripted(domain, lambda text: 1 - (right.value(text) or 0)))

    assert control.passed is False
    assert len(control.figures["wrong"]) == len(sanity_pairs(domain))


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_constant_and_the_longer_answer_fail(domain: str) -> None:
    assert sanity_control(NullExpert(domain)).passed is False
    assert sanity_control(Scripted(domain, lambda text: len(text) / 10_000)).passed is False
    assert sanity_control(Scripted(domain, lambda text: -len(text) / 10_000)).passed is False


def test_position_cannot_decide() -> None:
    class First:
        name, domain = "first", "helpfulness"

        def rate(self, queries: Sequence[Query], responses: Sequence[str]) -> list[Rating]:
            return [Rating(0.9 if i % 2 == 0 else 0.1) for i in range(len(responses))]

    assert sanity_control(First()).figures["share"] == pytest.approx(0.5)


def test_who_abstains_is_not_tested() -> None:
    control = sanity_control(NullExpert("helpfulness", None))

    assert control.passed is None
    assert "abstained" in control.explanation


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_pairs_are_enough_and_distinct(domain: str) -> None:
    pairs = sanity_pairs(domain)

    assert len(pairs) >= 28
    assert len({pair.id for pair in pairs}) == len(pairs)
    assert all(pair.chosen.strip() and pair.rejected.strip() for pair in pairs)
