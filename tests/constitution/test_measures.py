"""Measures of style: they rise with the style, and two of one style share no feature."""

from __future__ import annotations

import pytest

from custodes.constitution.measures import MEASURES, MeasureExpert
from custodes.conversation import Query, user_chat
from custodes.errors import ConfigError

QUERY = Query("q", tuple(user_chat("Tell me about bread.")))
MORE = {
    "terse": (
        "Mix flour and water.",
        "You take some flour, and then you take some water, and mix.",
    ),
    "terse-gold": (
        "Mix flour and water.",
        "Very gently mix the beautiful, shining flour so slowly.",
    ),
    "formal": ("Please mix the flour.", "Hey, you've gotta mix that flour!"),
    "formal-gold": ("The preparation requires attention.", "You have to get it all in one go now."),
}


@pytest.mark.parametrize("name", MEASURES)
def test_the_style_is_rated_above_its_opposite(name: str) -> None:
    one, other = MeasureExpert(name).rate([QUERY, QUERY], MORE[name])
    assert one.value is not None
    assert other.value is not None
    assert one.value > other.value + 0.1


def test_a_judge_outside_the_training_does_not_follow_the_same_feature() -> None:
    # Twice the words with the same ornaments a word; the other measure does not see it.
    short, long = "bread is good.", "bread is good. bread is good."
    terse, plain = MeasureExpert("terse"), MeasureExpert("terse-gold")
    assert terse.logits([QUERY] * 2, [short, long])[0] > terse.logits([QUERY] * 2, [short, long])[1]
    assert plain.logits([QUERY], [short]) == plain.logits([QUERY], [long])


def test_it_abstains_without_a_word_and_names_near_misses() -> None:
    assert MeasureExpert("terse").rate([QUERY], ["..."])[0].abstained
    with pytest.raises(ConfigError, match="did you mean formal"):
        MeasureExpert("formel")
