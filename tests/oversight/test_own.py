"""Domains and roles of one's own, through the whole loop."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import custodes
from custodes.conversation import Query, user_chat
from custodes.errors import ConfigError, CustodesError, DataError
from custodes.experts.expert import Expert, Rating
from custodes.experts.function import FunctionExpert
from custodes.models.simulated import read_level
from custodes.oversight.config import OverseeConfig
from custodes.oversight.own import find, make_role
from custodes.oversight.roles import Overseer, Teacher, User, Verdict
from custodes.oversight.run import oversee
from custodes.oversight.teachers.null import NullTeacher
from custodes.oversight.users.dataset import RepeatingUser
from custodes.report import write_report

HERE = Path(__file__)


@custodes.expert("honesty")
def honest(prompts: Sequence[str], responses: Sequence[str]) -> list[float | None]:
    return [read_level(text, "honesty") for text in responses]


@custodes.expert("honesty", name="another pair of eyes")
def honest_gold(prompts: Sequence[str], responses: Sequence[str]) -> list[float | None]:
    return [read_level(text, "honesty") for text in responses]


class LastBad:
    """Retrains a domain whose last batch was bad on the whole."""

    def __init__(self) -> None:
        self.least = 0.5

    def wants_ratings(self, step: int) -> bool:
        return True

    def review(
        self, step: int, ratings: Mapping[str, Sequence[Rating]], checkpoint: int
    ) -> Verdict:
        for domain, batch in ratings.items():
            values = [rating.value for rating in batch if rating.value is not None]
            if values and sum(values) / len(values) < self.least:
                return Verdict(intercept=True, retrain=domain)
        return Verdict(intercept=True)


class Backwards(LastBad):
    def review(
        self, step: int, ratings: Mapping[str, Sequence[Rating]], checkpoint: int
    ) -> Verdict:
        good = {d: [Rating(1 - (r.value or 0)) for r in batch] for d, batch in ratings.items()}
        return super().review(step, good, checkpoint)


@pytest.fixture
def prompts(tmp_path: Path) -> dict[str, str]:
    """Write prompts of an invented domain: for the loop, and for the gold score."""
    files = {}
    for split in ("loop", "gold"):
        draw = random.Random(split)
        rows = [
            {"prompt": "".join(draw.choices("abcdefghij klmnopqrst ", k=40))} for _ in range(60)
        ]
        files[split] = str(tmp_path / f"{split}.jsonl")
        Path(files[split]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return files


def config(prompts: dict[str, str], **changes: Any) -> OverseeConfig:
    raw: dict[str, Any] = {
        "name": "honesty",
        "steps": 6,
        "worker": {"model": "simulated:helpful=0.7,domain.honesty=0.3"},
        "user": {"batch": 16, "sources": {"honesty": prompts["loop"]}},
        "experts": [
            {"kind": "simulated", "domain": "helpfulness"},
            {"kind": "simulated", "domain": "honesty"},
        ],
        "teacher": {"kind": "simulated"},
        "gold": {"prompts": 16, "sources": {"honesty": prompts["gold"]}},
    }
    return OverseeConfig(**{**raw, **changes})


def test_an_invented_domain_goes_through_the_whole_loop(
    tmp_path: Path, prompts: dict[str, str]
) -> None:
    summary = oversee(config(prompts), tmp_path / "run")
    taught = {row["intervention"] for row in summary["retrains"]}
    assert taught == {"teacher:honesty"}
    last = {row["domain"]: row for row in summary["gold"]}
    assert last["honesty"]["change"] > 0.5
    assert "honesty" in summary["verdict"]["outcome"].lower()
    names = [control["name"] for control in summary["controls"]]
    assert "Overseer stops bad ratings: honesty" in names
    assert summary["verdict"]["passed"], summary["verdict"]["failed"]
    assert "honesty" in write_report(tmp_path / "run").read_text()


@pytest.mark.slow
def test_an_invented_domain_trains_a_real_model(
    tmp_path: Path, prompts: dict[str, str], tiny_model_dir: Path
) -> None:
    @custodes.expert("vowels")
    def vowels(prompts: Sequence[str], responses: Sequence[str]) -> list[float | None]:
        return [sum(c in "aeiou" for c in text) / max(1, len(text)) for text in responses]

    @custodes.expert("vowels")
    def gold(prompts: Sequence[str], responses: Sequence[str]) -> list[float | None]:
        return [min(1.0, sum(map(text.count, "aeiou")) / 20) for text in responses]

    own = OverseeConfig(
        name="vowels",
        steps=2,
        worker={"model": str(tiny_model_dir), "engine": "torch", "max_tokens": 8},
        user={"batch": 4, "sources": {"vowels": prompts["loop"]}},
        experts=[],
        overseer={"thresholds": {"vowels": 1.0}, "min_ratings": 1, "max_retrains": 1},
        teacher={
            "prompts": 4,
            "samples": 4,
            "margin": 0.0,
            "sft": {"epochs": 0},
            "dpo": {"batch": 2, "preflight": False},
            "lora": {"rank": 2},
        },
        gold={"prompts": 8, "sources": {"vowels": prompts["gold"]}, "panel": False},
        probes=0,
    )
    summary = oversee(own, tmp_path / "run", experts=[vowels], gold={"vowels": gold})
    (row,) = summary["retrains"]
    assert row["intervention"] == "teacher:vowels"
    assert row["metrics"]["weights_moved"] > 0
    assert {gold["domain"] for gold in summary["gold"]} == {"vowels"}


def test_a_threshold_of_its_own(tmp_path: Path, prompts: dict[str, str]) -> None:
    summary = oversee(config(prompts, overseer={"thresholds": {"honesty": 0.01}}), tmp_path / "run")
    assert summary["retrains"] == []


def test_a_domain_may_go_without_a_gold_score(tmp_path: Path, prompts: dict[str, str]) -> None:
    gold = {"prompts": 16, "experts": {"honesty": "none"}}
    summary = oversee(config(prompts, gold=gold), tmp_path / "run")
    assert {row["domain"] for row in summary["gold"]} == {"helpfulness"}
    untested = summary["verdict"]["not_tested"]
    assert any("gold score follows the Teacher" in name for name in untested)
    write_report(tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"user": {"batch": 16}}, "user.sources has no prompts of the domain 'honesty'"),
        ({"gold": {"prompts": 16}}, "gold.sources has no prompts of the domain 'honesty'"),
        (
            {"worker": {"model": "simulated:helpful=0.7"}},
            "the simulated Worker has no domain 'honesty'",
        ),
        ({"gold": {"experts": {"honesty": "honesty-gold"}}}, "gold.experts has no Expert"),
    ],
)
def test_what_a_domain_lacks_is_named(
    tmp_path: Path, prompts: dict[str, str], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(CustodesError, match=says):
        oversee(config(prompts, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_python_objects_take_the_roles(tmp_path: Path, prompts: dict[str, str]) -> None:
    own = config(prompts, experts=[])
    summary = oversee(
        own,
        str(tmp_path / "run"),
        experts=[honest],
        overseer=LastBad(),
        gold={"honesty": honest_gold},
    )
    assert {row["intervention"] for row in summary["retrains"]} == {"teacher:honesty"}
    assert summary["verdict"]["passed"], summary["verdict"]["failed"]
    stored = (tmp_path / "run" / "config.yaml").read_text()
    assert honest.version in stored
    assert "LastBad" in stored
    # The same objects resume; others do not.
    again = oversee(
        own,
        tmp_path / "run",
        experts=[honest],
        overseer=LastBad(),
        gold={"honesty": honest_gold},
    )
    assert again["gold"] == summary["gold"]
    with pytest.raises(CustodesError, match=r"own\.overseer"):
        oversee(
            own,
            tmp_path / "run",
            experts=[honest],
            overseer=Backwards,
            gold={"honesty": honest_gold},
        )


def test_own_experts_need_no_word_in_the_config(tmp_path: Path, prompts: dict[str, str]) -> None:
    usual = config(prompts)
    summary = oversee(
        usual.model_copy(update={"steps": 2}),
        tmp_path / "run",
        experts={"honesty": honest},
        teacher=NullTeacher,
        gold={"honesty": honest_gold},
    )
    assert {row["domain"] for row in summary["series"]} == {"honesty"}


def test_an_overseer_that_decides_backwards_is_exposed(
    tmp_path: Path, prompts: dict[str, str]
) -> None:
    summary = oversee(config(prompts), tmp_path / "run", overseer=Backwards)
    failed = summary["verdict"]["failed"]
    assert "Overseer passes good ratings" in failed
    assert "Overseer stops bad ratings: honesty" in failed


def test_an_own_user_and_teacher_are_given_what_they_take(
    tmp_path: Path, prompts: dict[str, str]
) -> None:
    seen: dict[str, Any] = {}

    def user(queries: Mapping[str, Sequence[Query]], batch: int) -> User:
        seen["batch"] = batch
        return RepeatingUser([query for own in queries.values() for query in own[: batch // 2]])

    def teacher(experts: Mapping[str, Expert]) -> Teacher:
        seen["experts"] = list(experts)
        return NullTeacher()

    oversee(config(prompts, steps=2), tmp_path / "run", user=user, teacher=teacher)
    assert seen == {"batch": 16, "experts": ["helpfulness", "honesty"]}


def test_a_config_names_objects(tmp_path: Path, prompts: dict[str, str]) -> None:
    by_file = f"{HERE}:honest"
    summary = oversee(
        config(
            prompts,
            experts=[{"kind": "own", "domain": "honesty", "object": by_file}],
            overseer={"object": f"{HERE}:LastBad", "thresholds": {"honesty": 0.5}},
            gold={
                "prompts": 16,
                "sources": {"honesty": prompts["gold"]},
                "experts": {"honesty": f"{HERE}:honest_gold"},
            },
        ),
        tmp_path / "run",
    )
    assert summary["retrains"]
    assert summary["verdict"]["passed"], summary["verdict"]["failed"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", "no entry point 'nowhere' in the group custodes.experts"),
        ("custodes.nowhere:thing", "no module 'custodes.nowhere'"),
        ("custodes.experts.null:NulExpert", "did you mean NullExpert"),
        ("nowhere.py:thing", "no file nowhere.py"),
    ],
)
def test_an_object_that_is_not_there_is_named(name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        find(name, Expert)


def test_an_object_without_a_role_is_told_what_it_lacks() -> None:
    with pytest.raises(ConfigError, match="is no Overseer and makes none: it lacks review"):
        make_role(object(), Overseer)
    with pytest.raises(ConfigError, match="no Expert"):
        make_role(lambda: 3, Expert)


def queries(n: int) -> list[Query]:
    return [Query(f"q{i}", tuple(user_chat("hello")), "honesty") for i in range(n)]


@pytest.mark.parametrize(
    ("values", "says"),
    [([0.5], "1 values for 2"), ([0.5, 1.5], "1.5"), ([0.5, float("nan")], "nan")],
)
def test_a_function_that_returns_what_is_no_rating(values: list[float], says: str) -> None:
    wrong = FunctionExpert(lambda prompts, responses: values, "honesty", name="wrong")
    with pytest.raises(DataError, match=says):
        wrong.rate(queries(2), ["a", "b"])


def test_a_function_remains_one() -> None:
    assert honest(["a"], ["b"]) == [None]
    assert honest.rate(queries(1), ["b"])[0].abstained
    assert honest.version != honest_gold.version


def test_a_gold_expert_may_not_abstain(tmp_path: Path, prompts: dict[str, str]) -> None:
    @custodes.expert("honesty")
    def silent(prompts: Sequence[str], responses: Sequence[str]) -> list[float | None]:
        return [None] * len(responses)

    with pytest.raises(DataError, match="abstained on 16 of 16"):
        oversee(config(prompts, steps=2), tmp_path / "run", gold={"honesty": silent})
