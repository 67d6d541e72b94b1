"""The audit recognises Experts whose ratings are not what the log or the gold score says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from custodes.conversation import Query
from custodes.experts.expert import Expert, Rating
from custodes.experts.null import SimulatedExpert
from custodes.oversight.build import build_roles
from custodes.oversight.config import OverseeConfig
from custodes.oversight.controls import audit as audit_module
from custodes.oversight.controls.audit import _in_domain, audit
from custodes.oversight.log import History
from custodes.oversight.loop import Roles
from custodes.progress import silent
from support.overseen import CONFIG

Rule = Callable[[list[Rating]], list[Rating]]


class Damaged(SimulatedExpert):
    """A simulated Expert whose ratings a rule changes."""

    rule: Rule

    def rate(self, queries: Sequence[Query], responses: Sequence[str]) -> list[Rating]:
        return self.rule(super().rate(queries, responses))


@dataclass
class Panel:
    experts: Mapping[str, Expert]
    gold: object


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> Roles:
    config = OverseeConfig.model_validate(CONFIG)
    return build_roles(config, tmp_path_factory.mktemp("roles"), silent)


def red(roles: Roles, history: History, rule: Rule | None) -> set[str]:
    experts = dict(roles.experts)
    if rule is not None:
        for domain in experts:
            damaged = Damaged(domain, noise=0.05)
            damaged.rule = rule
            experts[domain] = damaged
    controls = audit(replace(roles, experts=experts), history)
    return {c.name.split(":")[0] for c in controls if c.passed is False}


def test_sound_experts_pass(roles: Roles, sound: History) -> None:
    assert red(roles, sound, None) == set()


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        (
            lambda x: [Rating(1 - (r.value or 0)) for r in x],
            {"ratings are reproducible", "Expert agrees with the gold score",
             "Expert orders undoubted pairs"},
        ),
        (
            lambda x: x[1:] + x[:1],
            {"ratings are reproducible", "Expert agrees with the gold score"},
        ),
        (
            lambda x: [Rating(0.5)] * len(x),
            {"ratings are reproducible", "Expert agrees with the gold score",
             "Expert orders undoubted pairs"},
        ),
    ],
    ids=["flipped", "shifted", "constant"],
)  # fmt: skip
def test_damaged_experts_are_named(
    rule: Rule, names: set[str], roles: Roles, sound: History
) -> None:
    assert names <= red(roles, sound, rule)


def test_queries_under_the_wrong_domain_are_recognised(roles: Roles, sound: History) -> None:
    other = {"helpfulness": "harmlessness", "harmlessness": "helpfulness"}
    steps = tuple(
        replace(e, queries=tuple(replace(q, domain=other[q.domain]) for q in e.queries), ratings={})
        for e in sound.steps
    )
    assert "User asks in the domain" in red(roles, replace(sound, steps=steps), None)


def test_gold_prompts_that_were_asked_are_recognised(roles: Roles, sound: History) -> None:
    gold = roles.gold.queries["helpfulness"][0]
    copy = Query("other-id", ({"role": "user", "content": f"  {gold.text.upper()}!"},), gold.domain)
    first = sound.steps[0]
    leaked = replace(first, queries=(copy, *first.queries[1:]))
    history = replace(sound, steps=(leaked, *sound.steps[1:]))
    assert "gold unseen by the Worker" in red(roles, history, None)


def test_a_log_without_ratings_is_not_tested(roles: Roles, sound: History, tmp_path: Path) -> None:
    del tmp_path
    bare = replace(sound, steps=(), golds=())
    assert {c.passed for c in audit(roles, bare)} <= {None, True}


@pytest.mark.parametrize(("recognised", "passed"), [(20, True), (11, None), (4, False)])
def test_few_queries_with_other_words_may_be_chance(
    monkeypatch: pytest.MonkeyPatch,
    roles: Roles,
    sound: History,
    recognised: int,
    passed: bool | None,
) -> None:
    class Classifier:
        recall: ClassVar[dict[str, float]] = {"helpfulness": 0.72, "harmlessness": 0.72}

        def __init__(self, examples: Any) -> None:
            del examples

        def predict(self, texts: Sequence[str]) -> list[str]:
            return ["helpfulness"] * recognised + ["harmlessness"] * (len(texts) - recognised)

    queries = [
        Query(f"q{i}", ({"role": "user", "content": f"{i}?"},), "helpfulness") for i in range(24)
    ]
    step = replace(sound.steps[0], queries=tuple(queries), ratings={})
    monkeypatch.setattr(audit_module, "DomainClassifier", Classifier)
    rows = _in_domain(roles, replace(sound, steps=(step,)))
    assert [c.passed for c in rows if c.name.endswith("helpfulness")] == [passed]
