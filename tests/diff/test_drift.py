from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import sparse

from custodes.diff.concepts import concept_shifts, hidden_means
from custodes.diff.drift import drift
from custodes.diff.evidence import BettingProcess, e_benjamini_hochberg
from custodes.errors import DataError
from custodes.models.base import Chat, Sampling, Usage

PROMPTS = [(f"p{i}", f"question {i}?") for i in range(120)]


class Talker:
    """Apologises with a given probability, and says little else."""

    engine, version = "simulated", "0"

    def __init__(self, rate: float) -> None:
        self.name, self.rate, self.usage = f"sorry {rate}", rate, Usage()

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
        draws = np.random.default_rng(sampling.seed).random(len(chats))
        return [["I am sorry." if d < self.rate else "It is so."] for d in draws]


def test_capital_rarely_grows_where_nothing_changes() -> None:
    rng = np.random.default_rng(0)
    process = BettingProcess(2000)
    best = np.full(2000, -np.inf)
    for _ in range(6):
        signs = rng.choice([-1, 0, 1], (40, 2000), p=[0.15, 0.7, 0.15])
        best = np.maximum(best, process.bet(sparse.csc_matrix(signs)))
    for alpha in (0.1, 0.02):
        assert (best >= np.log(1 / alpha)).mean() <= alpha


def test_capital_grows_where_something_does() -> None:
    process = BettingProcess(1)
    log_e = [process.bet(sparse.csc_matrix(np.ones((10, 1))))[0] for _ in range(3)]
    assert log_e == sorted(log_e)
    assert log_e[-1] > np.log(1e4)


def test_e_bh_is_the_textbook_rule() -> None:
    e = np.array([100.0, 30.0, 1.0, 0.5])
    assert list(e_benjamini_hochberg(np.log(e), 0.1)) == [True, True, False, False]
    assert not e_benjamini_hochberg(np.log(np.full(4, 5.0)), 0.1).any()


def test_drift_says_what_when_and_whether_it_came_back() -> None:
    lineage = [Talker(r) for r in (0.05, 0.1, 0.6, 0.7, 0.05)]
    result = drift(lineage, PROMPTS, Sampling(seed=3))
    (sorry,) = (b for b in result.drifted if b.statement == "apologises")
    assert sorry.certain == 2
    assert sorry.returned
    assert sorry.sizes[2].effect > 0.5
    assert sorry.steps[3].effect < -0.5
    assert not result.control


def test_a_lineage_that_stands_still_does_not_drift() -> None:
    result = drift([Talker(0.3)] * 4, PROMPTS, Sampling(seed=1))
    assert not result.drifted


def test_independent_draws_of_one_model_do_not_drift() -> None:
    class Reseeded(Talker):
        def __init__(self, number: int) -> None:
            super().__init__(0.3)
            self.number = number

        def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
            return super().generate(chats, sampling.seeded(sampling.seed + self.number))

    lineage = [Reseeded(number) for number in range(4)]
    alarms = sum(bool(drift(lineage, PROMPTS[:40], Sampling(seed=s)).drifted) for s in range(10))
    assert alarms <= 2


def test_one_generation_is_no_lineage() -> None:
    with pytest.raises(DataError, match="1 generations"):
        drift([Talker(0.1)], PROMPTS, Sampling())


def test_concepts_that_move_are_told_from_those_that_do_not() -> None:
    rng = np.random.default_rng(0)
    centres = dict(zip("abc", rng.normal(size=(3, 16)), strict=True))
    before = {k: c + 0.2 * rng.normal(size=(30, 16)) for k, c in centres.items()}
    now = {k: x.copy() for k, x in before.items()}
    now["a"] += 0.5 * (centres["b"] - centres["a"])
    shifts = {s.pair: s for s in concept_shifts(before, now)}
    assert shifts["a", "b"].drifted
    assert shifts["a", "b"].now < shifts["a", "b"].before
    assert not shifts["b", "c"].drifted
    assert not any(s.drifted for s in concept_shifts(before, before))


def test_hidden_means_come_by_concept() -> None:
    class Inside(Talker):
        def hidden(self, chats: Sequence[Chat], layers: Sequence[int]) -> np.ndarray:
            lengths = [len(c[-1]["content"]) for c in chats]
            return np.tile(np.array(lengths, np.float32)[:, None, None, None], (1, 1, 2, 4))

        def logprobs(self, chats: Sequence[Chat], completions: Sequence[str]) -> list:  # type: ignore[type-arg]
            raise NotImplementedError

    means = hidden_means(Inside(0), {"short": ["a", "b", "c"], "long": ["aaaa"] * 4}, 1)
    assert means["short"].shape == (3, 4)
    assert means["long"][0, 0] == 4
    with pytest.raises(DataError, match="'few' has 1"):
        hidden_means(Inside(0), {"few": ["a"]}, 1)
