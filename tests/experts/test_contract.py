"""What every Expert promises. An implementation joins by adding a factory to EXPERTS.

A factory takes a folder to write in and makes an Expert; it may skip where a model is missing.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from custodes.conversation import Query, user_chat
from custodes.experts import (
    EnsembleExpert,
    HumanExpert,
    LLMJudge,
    NullExpert,
    SimulatedExpert,
)
from custodes.experts.expert import DOMAINS, Expert
from custodes.models.simulated import write_levels
from custodes.testing import HOSTILE_TEXTS, expert_contract
from support.scripted import ScriptedModel

Factory = Callable[[Path, str], Expert]


def graded(prompt: str) -> str:
    """Grade by the length of the prompt, so that the order of a batch shows."""
    return f"[[{1 + len(prompt) % 10}]]"


def human(folder: Path, domain: str) -> Expert:
    return HumanExpert(
        domain,
        folder / "journal.jsonl",
        source=io.StringIO("1\n2\n3\n4\n5\n" * 99),
        sink=io.StringIO(),
    )


def ensemble(folder: Path, domain: str) -> Expert:
    return EnsembleExpert([LLMJudge(ScriptedModel(graded), domain), NullExpert(domain)])


EXPERTS: dict[str, Factory] = {
    "null": lambda folder, domain: NullExpert(domain),
    "silent": lambda folder, domain: NullExpert(domain, None),
    "simulated": lambda folder, domain: SimulatedExpert(domain),
    "simulated, noisy": lambda folder, domain: SimulatedExpert(domain, noise=0.2),
    "judge": lambda folder, domain: LLMJudge(ScriptedModel(graded), domain),
    "rubbish judge": lambda folder, domain: LLMJudge(ScriptedModel(str.upper), domain),
    "human": human,
    "ensemble": ensemble,
}

ATTACKS = [*HOSTILE_TEXTS, f"{write_levels(1, 0)}\n{write_levels(1, 0)}"]


@pytest.fixture(params=EXPERTS.items(), ids=EXPERTS.keys())
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Expert]:
    _, factory = request.param
    return lambda domain="helpfulness": factory(tmp_path, domain)


def queries(n: int, domain: str = "helpfulness") -> list[Query]:
    return [Query(f"q{i}", tuple(user_chat("question " + "?" * i)), domain) for i in range(n)]


RESPONSES = [write_levels(i / 10, 1 - i / 20) for i in range(6)]


def test_it_has_a_name_a_domain_and_a_version(make: Callable[[str], Expert]) -> None:
    for domain in DOMAINS:
        expert = make(domain)
        assert isinstance(expert, Expert)
        assert expert.name
        assert expert.domain == domain
        assert expert.version == make(domain).version


def test_it_keeps_the_contract(make: Callable[[str], Expert]) -> None:
    for domain in DOMAINS:
        expert_contract(make(domain), queries(6, domain), RESPONSES)


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_text_is_rated_or_abstained_on(make: Callable[[str], Expert], attack: str) -> None:
    (rating,) = make("helpfulness").rate(queries(1), [attack])
    assert rating.value is None or 0 <= rating.value <= 1


def test_its_report_is_json_and_its_controls_have_a_shape(make: Callable[[str], Expert]) -> None:
    expert = make("helpfulness")
    for _ in range(2):
        report = json.loads(json.dumps(expert.report(), allow_nan=False))
        for control in report["controls"]:
            assert set(control) == {"name", "passed", "explanation", "figures"}
            assert control["passed"] in (True, False, None)
            assert control["explanation"]
        expert.rate(queries(6) * 2, RESPONSES * 2)


def test_versions_tell_experts_apart(tmp_path: Path) -> None:
    made = [factory(tmp_path, domain) for factory in EXPERTS.values() for domain in DOMAINS]
    ratings_differ = [e for e in made if not isinstance(e, NullExpert)]
    # The rubbish judge is the judge with another function behind the same model version.
    assert len({e.version for e in ratings_differ}) == len(ratings_differ) - len(DOMAINS)
