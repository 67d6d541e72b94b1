"""The contract tests that ship: they pass what keeps the contract, and expose what does not."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import custodes
from custodes.conversation import Query, user_chat
from custodes.experts.expert import DOMAINS, Rating
from custodes.experts.function import FunctionExpert
from custodes.experts.null import SimulatedExpert
from custodes.models import Sampling
from custodes.models.simulated import SimulatedModel
from custodes.oversight.overseer import NullOverseer, OverseerOptions, ThresholdOverseer
from custodes.oversight.roles import Verdict
from custodes.oversight.teachers.null import NullTeacher
from custodes.oversight.teachers.simulated import SimulatedTeacher
from custodes.oversight.users.dataset import DatasetUser, RepeatingUser
from custodes.oversight.worker import ModelWorker
from custodes.testing import (
    expert_contract,
    language_model_contract,
    overseer_contract,
    teacher_contract,
    user_contract,
)


def queries(domain: str = "helpfulness", n: int = 24) -> list[Query]:
    return [Query(f"{domain}{i}", tuple(user_chat(f"{domain} {i}?")), domain) for i in range(n)]


@custodes.expert("brevity")
def brief(prompts: Sequence[str], responses: Sequence[str]) -> list[float | None]:
    return [1 / (1 + len(text)) for text in responses]


def by_place(prompts: Sequence[str], responses: Sequence[str]) -> list[float | None]:
    return [i / len(responses) for i, _ in enumerate(responses)]


def by_neighbours(prompts: Sequence[str], responses: Sequence[str]) -> list[float | None]:
    longest = max(map(len, responses)) or 1
    return [len(text) / longest for text in responses]


def by_chance(prompts: Sequence[str], responses: Sequence[str]) -> list[float | None]:
    return [random.random() for _ in responses]


def test_a_function_keeps_the_experts_contract() -> None:
    expert_contract(brief)


@pytest.mark.parametrize("function", [by_place, by_neighbours, by_chance])
def test_an_expert_that_rates_by_anything_else_is_exposed(function: Any) -> None:
    with pytest.raises(AssertionError, match=r"rated the same|changes no rating"):
        expert_contract(FunctionExpert(function, "brevity"))


def test_an_expert_without_a_reason_is_exposed() -> None:
    class Mute(SimulatedExpert):
        def rate(self, queries: Sequence[Query], responses: Sequence[str]) -> list[Rating]:
            return [Rating(None) for _ in responses]

    with pytest.raises(AssertionError, match="has a reason"):
        expert_contract(Mute("helpfulness"))


class Erratic(NullOverseer):
    def review(
        self, step: int, ratings: Mapping[str, Sequence[Rating]], checkpoint: int
    ) -> Verdict:
        return Verdict(intercept=True, retrain=random.choice([None, *ratings]))


class Stranger(NullOverseer):
    def review(
        self, step: int, ratings: Mapping[str, Sequence[Rating]], checkpoint: int
    ) -> Verdict:
        return Verdict(intercept=True, retrain="honesty")


def test_overseers_that_ship_keep_the_contract() -> None:
    overseer_contract(NullOverseer)
    overseer_contract(lambda: ThresholdOverseer(OverseerOptions()), DOMAINS)
    overseer_contract(ThresholdOverseer(OverseerOptions(thresholds={"harmlessness": 0.5})), DOMAINS)


@pytest.mark.parametrize("overseer", [Erratic, Stranger])
def test_an_overseer_that_cannot_be_replayed_is_exposed(overseer: Callable[[], Any]) -> None:
    with pytest.raises(AssertionError, match=r"same verdict|knows the domain"):
        overseer_contract(overseer)


def test_users_that_ship_keep_the_contract() -> None:
    user_contract(RepeatingUser(queries(n=4)), DOMAINS)
    user_contract(DatasetUser({domain: queries(domain) for domain in DOMAINS}, 6), DOMAINS)


def test_a_user_with_a_memory_is_exposed() -> None:
    class Forgetful(RepeatingUser):
        def ask(self, step: int) -> list[Query]:
            self.queries = [*self.queries[1:], self.queries[0]]
            return self.queries

    with pytest.raises(AssertionError, match="depends on the step alone"):
        user_contract(Forgetful(queries(n=4)))


def test_teachers_that_ship_keep_the_contract(tmp_path: Path) -> None:
    worker = ModelWorker("simulated", Sampling(max_tokens=4, temperature=1.0))
    own = {"helpfulness": queries()}
    experts = {"helpfulness": SimulatedExpert("helpfulness")}
    teacher_contract(SimulatedTeacher(own, experts, prompts=8), worker, "helpfulness", tmp_path)
    teacher_contract(NullTeacher(), worker, "helpfulness")


def test_a_model_that_ignores_its_seed_is_exposed() -> None:
    class Stuck(SimulatedModel):
        def generate(self, chats: Any, sampling: Sampling, **options: Any) -> list[list[str]]:
            return super().generate(chats, sampling.seeded(3), **options)

    language_model_contract(SimulatedModel(), tokens=False)
    with pytest.raises(AssertionError, match="another seed"):
        language_model_contract(Stuck(), tokens=False)
