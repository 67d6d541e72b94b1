"""The Experts that are controls."""

from __future__ import annotations

import numpy as np
import pytest

from custodes.conversation import Query, user_chat
from custodes.errors import ConfigError
from custodes.experts import NullExpert, SimulatedExpert
from custodes.models.base import Sampling
from custodes.models.simulated import SimulatedModel, write_levels

CHATS = [user_chat(f"question {i}") for i in range(500)]


def queries(domain: str) -> list[Query]:
    return [Query(str(i), tuple(chat), domain) for i, chat in enumerate(CHATS)]


def test_the_simulated_expert_reads_its_domains_level() -> None:
    text = write_levels(0.7, 0.1)
    for domain, value in (("helpfulness", 0.7), ("harmlessness", 0.9)):
        (rating,) = SimulatedExpert(domain).rate(queries(domain)[:1], [text])
        assert rating.value == pytest.approx(value)
    (rating,) = SimulatedExpert("helpfulness").rate(queries("helpfulness")[:1], [f"{text}."])
    assert (rating.value, rating.reason) == (None, "not a simulated response")


def test_its_noise_is_as_large_as_told_and_belongs_to_the_response() -> None:
    worker = SimulatedModel()
    texts = [row[0] for row in worker.generate(CHATS, Sampling(temperature=0))]
    asked = queries("helpfulness")
    exact = np.array([r.value for r in SimulatedExpert("helpfulness").rate(asked, texts)])
    noisy = SimulatedExpert("helpfulness", noise=0.05, seed=3)
    error = np.array([r.value for r in noisy.rate(asked, texts)]) - exact
    inside = (exact > 0.2) & (exact < 0.8)
    assert abs(error[inside].mean()) < 0.01
    assert error[inside].std() == pytest.approx(0.05, abs=0.008)
    assert noisy.rate(asked[::-1], texts[::-1]) == noisy.rate(asked, texts)[::-1]
    other = SimulatedExpert("helpfulness", noise=0.05, seed=4)
    assert other.rate(asked, texts) != noisy.rate(asked, texts)
    assert other.version != noisy.version


def test_the_null_expert_knows_nothing() -> None:
    asked = queries("helpfulness")[:2]
    assert [r.value for r in NullExpert("helpfulness").rate(asked, ["a", "b"])] == [0.5, 0.5]
    assert [r.value for r in NullExpert("helpfulness", None).rate(asked, ["a", "b"])] == [None] * 2


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"value is 1.5"):
        NullExpert("helpfulness", 1.5)
    asked = [Query("q", tuple(user_chat("a")), "helpfullness")]
    with pytest.raises(ConfigError, match="did you mean helpfulness"):
        SimulatedExpert("helpfullness").rate(asked, [write_levels(0.5, 0.5)])
    with pytest.raises(ConfigError, match="noise is 2"):
        SimulatedExpert("helpfulness", noise=2)
