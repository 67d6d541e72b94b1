"""The A/A run: relabelled copies, how many may have a finding, and that it can fail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from custodes.diff.aa_run import COPIES, aa_control, aa_run, allowed, spent
from custodes.diff.compare import compare
from custodes.diff.inference.hypotheses import SHARES, build
from custodes.diff.inference.null import null_distribution
from custodes.diff.responses import align
from support.texts import edited, made_up


def test_the_control_has_three_states_and_says_its_bound() -> None:
    most = allowed(0.1)
    assert aa_control(most, 0.1, 100).passed
    failed = aa_control(most + 1, 0.1, 100)
    assert failed.passed is False
    assert f"{most + 1} of 20 copies" in failed.explanation
    assert f"about 1 is expected, more than {most} would be too many" in failed.explanation
    assert "Do not rely on them" in failed.explanation
    assert aa_control(0, 0.1, 0).passed is None


def test_the_bound_is_that_of_a_binomial() -> None:
    for fdr in (0.02, 0.1, 0.3):
        assert stats.binom.sf(allowed(fdr), COPIES, spent(fdr)) <= 0.01
        assert stats.binom.sf(allowed(fdr) - 1, COPIES, spent(fdr)) > 0.01
    assert spent(0.1) == pytest.approx(1 - np.exp(-0.1 / 1.6))


def test_a_large_difference_does_not_alarm_the_control() -> None:
    a, b = made_up(160, 1, "A"), made_up(160, 2, "B")
    diff = compare(a, edited(b, set(b.ids[:120]), str.upper, "B"))
    assert diff.findings
    assert diff.aa_run.control.passed
    assert diff.aa_run.copies == COPIES


def test_a_null_distribution_that_is_too_narrow_fails_the_control() -> None:
    aligned = align(made_up(120, 1, "A"), made_up(120, 2, "B"))
    hypotheses = build(aligned, 0)
    rng = np.random.default_rng(0)
    draws = hypotheses.design.draw(999, rng)
    shares = tuple(SHARES.values())
    null = null_distribution(hypotheses.design, hypotheses.family, shares, draws)
    assert aa_run(hypotheses, aligned, null, 0.1, np.random.default_rng(1)).control.passed
    # As if one hypothesis had been tested, and not thousands.
    narrow = replace(
        null,
        sizes=np.ones_like(null.sizes),
        largest=null.largest * 0.4,
        counts=null.counts * 0,
    )
    run = aa_run(hypotheses, aligned, narrow, 0.1, np.random.default_rng(1))
    assert run.control.passed is False
    assert run.found > allowed(0.1)
    assert run.findings
    assert run.control.figures["found"] == run.found


def test_what_no_relabelling_makes_a_finding_is_not_tested() -> None:
    for n in (3, 8):
        diff = compare(made_up(n, 1, "A"), made_up(n, 2, "B"))
        assert diff.aa_run.control.passed is None
