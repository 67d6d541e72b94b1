"""What a diff calls detectable is found with 80% power, and nothing is where nothing can be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from custodes.diff.compare import compare
from custodes.diff.inference.hypotheses import FAMILIES, LEAST, SHARES
from custodes.diff.inference.null import Null, null_distribution
from custodes.diff.inference.power import Sizes, detectable, detectable_rises
from custodes.diff.inference.randomization import SignFlips
from support.texts import made_up


def test_more_prompts_and_weaker_thresholds_detect_smaller_rises() -> None:
    few, many = detectable(100, 4.0, 0.05), detectable(1000, 4.0, 0.05)
    easy = detectable(100, 2.0, 0.05)
    assert few is not None
    assert many is not None
    assert easy is not None
    assert many < few
    assert easy < few


@pytest.mark.parametrize("base", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("n", [16, 60, 200])
def test_the_detectable_rise_has_the_stated_power(n: int, base: float) -> None:
    score = 3.0
    rise = detectable(n, score, base)
    if rise is None:
        assert n == 16
        return
    rng = np.random.default_rng(0)
    a, b = rng.random((4000, n)) < base, rng.random((4000, n)) < base + rise
    up, down = (b & ~a).sum(axis=1), (a & ~b).sum(axis=1)
    p = 2 * stats.binom.sf(up - 1, up + down, 0.5)
    found = ((p <= 10.0**-score) & (up + down >= LEAST)).mean()
    # A finer step would have less power than 80%, and few prompts make large steps.
    assert 0.78 <= found <= 0.88


@pytest.mark.parametrize("n", [1, 4, LEAST - 1])
def test_fewer_prompts_than_a_finding_needs_detect_nothing(n: int) -> None:
    assert detectable(n, 0.5, 0.0) is None
    diff = compare(made_up(n, 1, "A"), made_up(n, 2, "B"))
    assert all(one.rise is None for one in diff.detectable)
    assert "nothing can be found" in diff.outcome


def _null(n: int = 80, hypotheses: int = 60) -> Null:
    rng = np.random.default_rng(5)
    values = rng.choice([-1, 0, 1], (n, hypotheses), p=[0.2, 0.6, 0.2]).astype(np.float32)
    design = SignFlips(sparse.csc_matrix(values))
    family = np.full(hypotheses, FAMILIES.index("word"))
    return null_distribution(design, family, tuple(SHARES.values()), design.draw(999, rng))


def test_an_empty_family_of_words_still_asks_for_a_surprise() -> None:
    rng = np.random.default_rng(0)
    design = SignFlips(sparse.csc_matrix((50, 0), dtype=np.float32))
    family = np.empty(0, np.intp)
    null = null_distribution(design, family, tuple(SHARES.values()), design.draw(999, rng))
    word = FAMILIES.index("word")
    # A word that B alone uses would be tested: its own p counts, at the family's share.
    assert 10.0 ** -null.threshold(word, 0.1, extra=1) < 0.1 * null.shares[word]
    assert null.threshold(word, 0.1) < null.threshold(word, 0.1, extra=1)
    # Eight of eight prompts: 2^-7 is too much for one hypothesis at the share of the words.
    assert detectable_rises(Sizes(8, 8), null, 0.1)[0].rise is None
    assert detectable_rises(Sizes(9, 9), null, 0.1)[0].rise is not None


def test_several_samples_and_different_prompts_are_simulated() -> None:
    null = _null()
    one = detectable_rises(Sizes(80, 80), null, 0.1)[1].rise
    four = detectable_rises(Sizes(80, 80, 4, 4), null, 0.1)[1].rise
    apart = detectable_rises(Sizes(80, 80, paired=False), null, 0.1)[1].rise
    assert one is not None
    assert four is not None
    assert apart is not None
    assert four < one
    # With independent responses, the same prompts are worth about as much as others.
    assert apart == pytest.approx(one, abs=0.06)
