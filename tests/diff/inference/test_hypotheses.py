"""The list of hypotheses: nothing in it may depend on the sides."""

from __future__ import annotations

import numpy as np
import pytest

from custodes.diff.inference.hypotheses import FAMILIES, LEAST, Hypotheses, averaging, build
from custodes.diff.responses import Aligned, align
from support.texts import edited, made_up


@pytest.fixture(scope="module")
def aligned() -> Aligned:
    b = made_up(80, 2, "B")
    return align(made_up(80, 1, "A"), edited(b, set(b.ids[:60]), lambda t: f"{t} Ahoy!", "B"))


@pytest.fixture(scope="module")
def hypotheses(aligned: Aligned) -> Hypotheses:
    return build(aligned, 0)


def test_swapping_the_sides_leaves_the_hypotheses_as_they_are(
    aligned: Aligned, hypotheses: Hypotheses
) -> None:
    b = made_up(80, 2, "B")
    other = align(edited(b, set(b.ids[:60]), lambda t: f"{t} Ahoy!", "B"), made_up(80, 1, "A"))
    swapped = build(other, 0)
    names, other_names = (
        [h.indicators.items[j].statement for j in h.behaviour] for h in (hypotheses, swapped)
    )
    assert names == other_names
    assert hypotheses.condition.tolist() == swapped.condition.tolist()
    difference = hypotheses.rates_b - hypotheses.rates_a
    assert abs(difference + (swapped.rates_b - swapped.rates_a)).max() < 1e-6


def test_common_behaviours_are_turned_into_their_absence(hypotheses: Hypotheses) -> None:
    shares = np.diff(hypotheses.indicators.shows.indptr) / 160
    assert shares.max() <= 0.5
    assert any(item.absent for item in hypotheses.indicators.items)


def test_every_hypothesis_could_be_significant(hypotheses: Hypotheses) -> None:
    support = np.diff(hypotheses.design.differences.indptr)  # type: ignore[attr-defined]
    assert support.min() >= LEAST


def test_conditions_restrict_the_prompts(hypotheses: Hypotheses) -> None:
    conditional = np.flatnonzero(hypotheses.condition >= 0)
    assert {FAMILIES[hypotheses.family[k]] for k in conditional} == {"condition"}
    for k in conditional[:20]:
        column = hypotheses.design.differences[:, k]  # type: ignore[attr-defined]
        assert hypotheses.members(int(k))[column.indices].all()


def test_prompts_count_equally_however_many_responses_they_have() -> None:
    a = made_up(20, 1, "A", samples=3)
    matrices = averaging(align(a, made_up(20, 2, "B", samples=2)))
    for matrix in matrices:
        assert np.asarray(matrix.sum(axis=1)).ravel() == pytest.approx(np.ones(20))
