"""The ensemble: how it joins, when it abstains, and what its disagreement shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from custodes.conversation import Query, user_chat
from custodes.errors import ConfigError
from custodes.experts import EnsembleExpert, LLMJudge, NullExpert
from custodes.experts.expert import Rating
from custodes.models.simulated import SimulatedModel


class Fixed:
    """Rates the i-th response of a batch by the i-th value."""

    def __init__(
        self, name: str, values: Sequence[float | None], domain: str = "helpfulness"
    ) -> None:
        self.name, self.domain, self.version = name, domain, f"{name}-1"
        self.values = values

    def rate(self, queries: Sequence[Query], responses: Sequence[str]) -> list[Rating]:
        return [Rating(v, "" if v is not None else "shy") for v in self.values[: len(responses)]]

    def report(self) -> dict[str, Any]:
        return {"controls": [{"name": "own", "ok": True, "says": "fine"}]}


def rated(ensemble: EnsembleExpert, n: int) -> list[Rating]:
    queries = [Query(str(i), tuple(user_chat(str(i))), "helpfulness") for i in range(n)]
    return ensemble.rate(queries, ["x"] * n)


@pytest.mark.parametrize(("combine", "value"), [("mean", 0.4), ("median", 0.2), ("min", 0.1)])
def test_it_joins(combine: str, value: float) -> None:
    members = [Fixed("a", [0.1]), Fixed("b", [0.2]), Fixed("c", [0.9])]
    assert rated(EnsembleExpert(members, combine=combine), 1)[0].value == pytest.approx(value)


def test_it_abstains_below_its_quorum() -> None:
    members = [
        Fixed("a", [0.2, 0.2, None]),
        Fixed("b", [0.4, None, None]),
        NullExpert("helpfulness", None),
    ]
    ratings = rated(EnsembleExpert(members, quorum=2), 3)
    assert ratings[0].value == pytest.approx(0.3)
    assert [r.value for r in ratings[1:]] == [None, None]
    assert ratings[1].reason == "1 of 2 needed spoke (b: shy; null: knows nothing)"
    alone = rated(EnsembleExpert(members, quorum=1), 3)
    assert [r.value for r in alone] == [pytest.approx(0.3), 0.2, None]


def test_members_that_agree_pass_and_members_that_do_not_fail() -> None:
    up = [i / 10 for i in range(10)]
    agreeing = EnsembleExpert([Fixed("a", up), Fixed("b", [v / 2 for v in up])])
    rated(agreeing, 10)
    report = agreeing.report()
    assert report["controls"][0]["ok"]
    assert report["correlations"][0]["r"] == pytest.approx(1)
    assert report["mean_absolute_deviation"] == pytest.approx(sum(v / 4 for v in up) / 10)
    opposed = EnsembleExpert([Fixed("a", up), Fixed("b", up), Fixed("c", up[::-1])])
    rated(opposed, 10)
    control = opposed.report()["controls"][0]
    assert not control["ok"]
    assert "a and c, is -1.00 over 10 responses" in control["says"]
    constant = EnsembleExpert([Fixed("a", up), NullExpert("helpfulness", 0.5)])
    rated(constant, 10)
    assert not constant.report()["controls"][0]["ok"]
    assert "always says the same" in constant.report()["controls"][0]["says"]


def test_disagreement_counts_only_what_both_rated() -> None:
    up: list[float | None] = [i / 10 for i in range(10)]
    ensemble = EnsembleExpert([Fixed("a", up), Fixed("b", [None, *up[1:9], None])])
    rated(ensemble, 10)
    assert ensemble.report()["correlations"] == [
        {"members": ["a", "b"], "n": 8, "r": pytest.approx(1)}
    ]
    json.dumps(ensemble.report(), allow_nan=False)
    few = EnsembleExpert([Fixed("a", up), Fixed("b", up)])
    assert few.report()["mean_absolute_deviation"] is None
    rated(few, 3)
    assert [c["name"] for c in few.report()["controls"]] == ["own (a)", "own (b)"]


@pytest.mark.parametrize(
    ("members", "options", "words"),
    [
        ([], {}, "an ensemble of nobody"),
        ([Fixed("a", []), Fixed("b", [], "harmlessness")], {}, "harmlessness, helpfulness"),
        ([Fixed("a", [])], {"combine": "meen"}, "did you mean mean"),
        ([Fixed("a", [])], {"quorum": 2}, "a quorum of 2 out of 1"),
        ([Fixed("a", [])], {"quorum": 0}, "a quorum of 0 out of 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(members: list[Any], options: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        EnsembleExpert(members, **options)


def test_what_it_cost_is_what_its_members_cost() -> None:
    model = SimulatedModel()
    ensemble = EnsembleExpert([LLMJudge(model, "helpfulness"), Fixed("a", [0.5])])
    rated(ensemble, 1)
    assert ensemble.usage == model.usage
    assert ensemble.usage.calls == 1


def test_the_version_is_of_its_parts() -> None:
    one, two = Fixed("a", []), Fixed("b", [])
    versions = {
        EnsembleExpert([one, two]).version,
        EnsembleExpert([one]).version,
        EnsembleExpert([one, two], combine="min").version,
        EnsembleExpert([one, two], quorum=2).version,
    }
    assert len(versions) == 4
