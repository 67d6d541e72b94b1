"""The steps of the selection, each on candidates that are made for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from custodes.diff.inference.candidates import Candidates, agreement, lift, sharpness, unrelated
from custodes.diff.inference.randomization import Floats
from custodes.diff.inference.selection import (
    Remaining,
    Selection,
    components,
    explain,
    leader,
    leaders,
    representative,
    with_q_values,
)

N = 200


def pool_of(*moves: Sequence[int], **changed: object) -> Candidates:
    """Make candidates that move these prompts (negative numbers: -k moves prompt k downwards)."""
    values = np.zeros((N, len(moves)), np.float32)
    for j, prompts in enumerate(moves):
        for k in prompts:
            values[abs(k), j] = 1 if k >= 0 else -1
    effect = values.sum(axis=0).astype(float)
    up, down = (values > 0).sum(axis=0), (values < 0).sum(axis=0)
    made: dict[str, object] = {
        "hypothesis": 10 + np.arange(len(moves)),
        "score": np.full(len(moves), 9.0, np.float32),
        "expected": np.full(len(moves), 1e-6),
        "plain": np.ones(len(moves), bool),
        "highlighted": np.ones(len(moves), bool),
        "rank": np.zeros(len(moves), np.intp),
        "generic": np.zeros(len(moves), bool),
        "differences": sparse.csc_matrix(values),
        "effect": effect,
        "shown": np.maximum(up, down).astype(float),
        "noise": np.sqrt(np.minimum(up, down) * 2.0),
        "direction": np.ones(N),
        "paired": True,
    }
    return Candidates(**(made | changed))  # type: ignore[arg-type]


def rescore_by_count(pool: Candidates, needed: int) -> object:
    """Score a candidate as surprising while it moves at least ``needed`` of the kept prompts."""

    def rescore(places: NDArray[np.intp], keep: NDArray[np.bool_]) -> Floats:
        moved = keep @ pool.moved[:, places]
        return np.where(np.asarray(moved).ravel() >= needed, 1e-6, 1.0)

    return rescore


def test_sharpness_is_cautious_about_few_prompts() -> None:
    few, many = sharpness(np.array([5.0, 50.0]), np.array([5.0, 50.0]))
    assert few < many < 1
    # Half of the responses show it anyway.
    assert sharpness(np.array([25.0]), np.array([50.0]))[0] < 0.5


def test_the_sharpest_surprising_candidate_leads() -> None:
    pool = pool_of(range(40), range(20), range(30), shown=np.array([80.0, 20.0, 30.0]))
    start = Remaining.start(pool)
    # The second is less sharp than the third, for it has fewer prompts; the first is diluted.
    assert leader(pool, start, 0.1) == 2
    assert leader(pool, start.less(2), 0.1) == 1
    unsurprising = Remaining(start.available, np.ones(3), start.removed, start.without)
    assert leader(pool, unsurprising, 0.1) is None


def test_a_candidate_under_a_condition_leads_only_where_no_other_is_left() -> None:
    pool = pool_of(range(40), range(30), plain=np.array([False, True]))
    start = Remaining.start(pool)
    assert leader(pool, start, 0.1) == 1
    assert leader(pool, start.less(1), 0.1) == 0


def test_agreement_tells_the_same_direction_from_the_opposite_and_from_other_prompts() -> None:
    # On the prompts of the first, the second moves alike and the third the other way. But the
    # third moved upwards as a whole: against what its agreement with the first has it.
    third = [*(-k for k in range(1, 21)), *range(100, 160)]
    pool = pool_of(range(1, 31), range(1, 21), third, range(60, 90))
    z = agreement(pool, 0)
    assert z[1] == pytest.approx(20 / np.sqrt(20))
    assert z[2] == pytest.approx(-20 / np.sqrt(20))
    assert z[3] == 0
    # One that moves downwards on these prompts, and as a whole, moves as its agreement has it.
    downwards = pool_of(range(1, 31), [-k for k in range(1, 21)])
    assert agreement(downwards, 0)[1] == pytest.approx(20 / np.sqrt(20))


def test_agreement_on_different_prompts_counts_only_what_is_beyond_chance() -> None:
    half, other = list(range(0, N, 2)), list(range(0, N // 2))
    paired = agreement(pool_of(half, other), 0)[1]
    different = agreement(pool_of(half, other, paired=False), 0)[1]
    assert paired > 5
    assert different == pytest.approx(0)


def test_lift_is_one_by_chance() -> None:
    half, independent = list(range(0, N, 2)), list(range(0, 40))
    assert lift(pool_of(half, independent), 0)[1] == pytest.approx(1)
    assert lift(pool_of(list(range(20)), list(range(20))), 0)[1] == pytest.approx(10)


def test_only_a_finding_of_most_prompts_has_unrelated_candidates() -> None:
    most, chance, within = list(range(150)), list(range(120, 160)), list(range(40))
    pool = pool_of(most, chance, within)
    assert unrelated(pool, pool.moved_by(0)).tolist() == [False, True, False]
    assert not unrelated(pool, pool.moved_by(2)).any()


def test_what_is_not_surprising_without_the_findings_prompts_is_explained() -> None:
    same, further, elsewhere = range(28), [*range(20), *range(50, 70)], range(100, 130)
    pool = pool_of(range(30), same, further, elsewhere)
    rescore = rescore_by_count(pool, needed=10)
    explained, left = explain(pool, Remaining.start(pool).less(0), 0, 0.1, rescore)
    assert explained.tolist() == [False, True, False, False]
    assert left.available.tolist() == [False, False, True, True]
    # Only what agrees with the finding loses its prompts.
    assert left.without[:, 0].tolist() == [False, True, True, False]


def test_prompts_of_all_earlier_findings_stay_removed() -> None:
    pool = pool_of(range(30), range(30, 60), range(65))
    rescore = rescore_by_count(pool, needed=20)
    _, left = explain(pool, Remaining.start(pool).less(0), 0, 0.1, rescore)
    assert left.available[2]
    # 35 prompts are left without the first finding, and 5 without both.
    explained, _ = explain(pool, left.less(1), 1, 0.1, rescore)
    assert explained[2]


def test_the_steps_leave_their_input_as_it_was() -> None:
    pool = pool_of(range(30), range(28))
    start = Remaining.start(pool)
    explain(pool, start, 0, 0.1, rescore_by_count(pool, needed=10))
    assert start.available.all()
    assert start.expected.tolist() == [1e-6, 1e-6]
    assert start.removed.shape == (0, N)


def test_the_representative_shows_on_the_changed_prompts_and_hardly_elsewhere() -> None:
    # The first shows on all 40 changed prompts; the second also on 60 others; the third on few.
    pool = pool_of(range(40), range(40), range(12), shown=np.array([40.0, 100.0, 12.0]))
    assert representative(pool, 2, np.array([True, True, False])) == 0


def test_a_noisy_behaviour_does_not_stand_for_a_change() -> None:
    pool = pool_of(range(40), range(44), noise=np.array([0.0, 12.0]))
    assert representative(pool, 0, np.array([False, True])) == 0


def test_a_generic_candidate_leads_only_where_no_sharp_specific_one_is_left() -> None:
    pool = pool_of(range(60), range(20), generic=np.array([True, False]))
    start = Remaining.start(pool)
    assert leader(pool, start, 0.1) == 1
    assert leader(pool, start.less(1), 0.1) == 0
    dull = pool_of(
        range(60), range(20), generic=np.array([True, False]), shown=np.array([60.0, 60.0])
    )
    assert leader(dull, Remaining.start(dull), 0.1) == 0


def test_every_change_has_one_leader() -> None:
    pool = pool_of(range(30), range(28), range(50, 80), range(50, 75))
    assert leaders(pool, 0.1, rescore_by_count(pool, needed=10)) == [0, 2]


def test_what_several_changes_move_stands_for_none_of_them() -> None:
    # Both changes make most responses longer, and 26 others are long on either side.
    longer = [*range(28), *range(50, 78)]
    shown = np.array([30.0, 30.0, 82.0])
    pool = pool_of(range(30), range(50, 80), longer, shown=shown)
    alternatives = np.array([False, False, True])
    assert representative(pool, 0, alternatives) == 2
    assert representative(pool, 0, alternatives, others=[1]) == 0
    # In B's and A's places swapped, the same.
    swapped = replace(pool, direction=-pool.direction, effect=-pool.effect)
    assert representative(swapped, 0, alternatives, others=[1]) == 0


def test_a_specific_behaviour_stands_for_its_parts() -> None:
    # Two phrases of one way of speaking, and what covers both.
    both = [*range(20), *range(50, 70)]
    pool = pool_of(range(20), range(50, 70), both)
    alternatives = np.array([False, False, True])
    assert representative(pool, 0, alternatives, others=[1]) == 2
    generic = replace(pool, generic=np.array([False, False, True]))
    assert representative(generic, 0, alternatives, others=[1]) == 0


def test_what_can_be_highlighted_is_preferred() -> None:
    pool = pool_of(range(40), range(40), highlighted=np.array([False, True]))
    assert representative(pool, 0, np.array([False, True])) == 1


def test_components_co_occur_and_are_there_without_the_finding() -> None:
    finding = list(range(30))
    beside = [*range(10), *range(30, 42)]  # 10 of 22 prompts are the finding's: lift 3.03.
    chance = [*range(8), *range(60, 82)]  # 8 of 30: lift 1.8, though they agree (z = 2.8).
    opposite = [-k for k in range(1, 23)]
    pool = pool_of(finding, beside, chance, opposite)
    start = Remaining.start(pool).less(0)
    rescore = rescore_by_count(pool, needed=8)
    assert components(pool, start, 0, 0.1, rescore)[0] == [1]
    conditional = pool_of(finding, beside, plain=np.array([False, True]))
    assert components(conditional, Remaining.start(conditional), 0, 0.1, rescore)[0] == []


def test_a_component_explains_what_agrees_with_it() -> None:
    finding, beside = list(range(30)), [*range(10), *range(30, 42)]
    pool = pool_of(finding, beside, beside[:-2])
    rescore = rescore_by_count(pool, needed=8)
    assert components(pool, Remaining.start(pool).less(0), 0, 0.1, rescore)[0] == [1]


def test_a_component_is_there_without_the_other_changes() -> None:
    finding, other = list(range(30)), list(range(50, 80))
    beside = [*range(10), *range(50, 62)]
    pool = pool_of(finding, beside, other)
    start = Remaining.start(pool).less(0)
    rescore = rescore_by_count(pool, needed=8)
    assert components(pool, start, 0, 0.1, rescore)[0] == [1]
    assert components(pool, start, 0, 0.1, rescore, others=[2])[0] == []
    generic = replace(pool, generic=np.array([False, True, False]))
    assert components(generic, start, 0, 0.1, rescore)[0] == []


def test_a_dull_behaviour_is_no_component() -> None:
    finding, beside = list(range(30)), [*range(10), *range(30, 42)]
    pool = pool_of(finding, beside, shown=np.array([30.0, 60.0]))
    rescore = rescore_by_count(pool, needed=8)
    assert components(pool, Remaining.start(pool).less(0), 0, 0.1, rescore)[0] == []


def test_of_behaviours_that_fit_about_as_well_the_plainest_is_taken() -> None:
    # The second misses two of the forty prompts, the third half of them.
    pool = pool_of(range(40), range(38), range(20), rank=np.array([3, 1, 0]))
    assert representative(pool, 0, np.array([False, True, True])) == 1
    same_form = replace(pool, rank=np.zeros(3, np.intp))
    assert representative(same_form, 0, np.array([False, True, True])) == 0


def test_q_is_the_smallest_rate_at_which_a_finding_is_selected() -> None:
    selections = [
        Selection(hypothesis=k, score=s, expected=e, q=e)
        for k, (s, e) in enumerate([(3.0, 0.09), (9.0, 0.01), (5.0, 0.03), (4.0, 0.032)])
    ]
    ordered = with_q_values(selections)
    assert [one.hypothesis for one in ordered] == [1, 2, 3, 0]
    assert [one.q for one in ordered] == pytest.approx([0.01, 0.032 / 3, 0.032 / 3, 0.09 / 4])
