"""An Overseer that decides the wrong way round is recognised, whatever its rule is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pytest

from custodes.experts.expert import Rating
from custodes.oversight.controls.bookkeeping import OverseerPlan
from custodes.oversight.controls.overseer import overseer_controls
from custodes.oversight.overseer import NullOverseer, OverseerOptions, ThresholdOverseer
from custodes.oversight.roles import Verdict


@pytest.mark.parametrize("rule", ["single", "mean", "lower_bound"])
@pytest.mark.parametrize("every", [1, 5])
def test_the_threshold_overseer_passes(rule: str, every: int, plan: OverseerPlan) -> None:
    options = OverseerOptions(rule=rule, overseer_steps=every, thresholds=plan.thresholds)  # type: ignore[arg-type]
    controls = overseer_controls(lambda: ThresholdOverseer(options), plan)
    assert [c.passed for c in controls] == [True, True, True]


@dataclass
class Reversed:
    """Retrains what is best."""

    def wants_ratings(self, step: int) -> bool:
        return True

    def review(
        self, step: int, ratings: Mapping[str, Sequence[Rating]], checkpoint: int
    ) -> Verdict:
        best = max(ratings, key=lambda d: sum(r.value or 0 for r in ratings[d]))
        return Verdict(intercept=True, retrain=best)


def test_one_that_is_reversed_or_never_acts_is_red(plan: OverseerPlan) -> None:
    assert [c.passed for c in overseer_controls(Reversed, plan)] == [False, False, False]
    assert [c.passed for c in overseer_controls(NullOverseer, plan)] == [True, False, False]


def test_where_nothing_is_clear_nothing_is_tested(plan: OverseerPlan) -> None:
    for unclear in (
        replace(plan, max_retrains=0),
        replace(plan, thresholds={"helpfulness": 0.0, "harmlessness": 0.6}),
    ):
        controls = overseer_controls(NullOverseer, unclear)
        assert [c.passed for c in controls] == [None, None, None]
