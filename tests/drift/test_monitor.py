from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from custodes.conversation import Chat
from custodes.diff.features.indicators import Column
from custodes.diff.inference.effects import measure
from custodes.drift.concepts import concept_shifts, hidden_means, read_concepts
from custodes.drift.e_values import (
    STAKES,
    BettingProcess,
    always_interval,
    detectable_drift,
    e_benjamini_hochberg,
    receding_log_e,
)
from custodes.drift.lineage import drift
from custodes.drift.monitor import Monitor, Round
from custodes.errors import DataError
from custodes.models.base import Sampling, Usage

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


def test_the_capital_is_the_product_of_the_bets() -> None:
    rng = np.random.default_rng(4)
    rounds = [rng.choice([-1.0, -0.5, 0.0, 0.25, 1.0], (30, 3)) for _ in range(2)]
    process = BettingProcess(3)
    for given in rounds:
        log_e = process.bet(sparse.csc_matrix(given))
    for j in range(3):
        played = np.concatenate([given[:, j] for given in rounds])
        capital = [np.prod(1 + stake * played) for stake in STAKES]
        assert log_e[j] == pytest.approx(np.log(np.mean(capital)))


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
    assert result.control.ok


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


BEHAVIOURS = tuple(Column("feature", "made up", f"b{j}") for j in range(100))


def lineages(rates: Sequence[np.ndarray], count: int, prompts: int = 60) -> list[Monitor]:
    """Simulate lineages: ``rates[t]`` of each behaviour in generation t, independent draws."""
    made = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        monitor = Monitor(0.05)
        for rate in rates[1:]:
            first, now = (
                sparse.csc_matrix((rng.random((prompts, len(r))) < r).astype(float))
                for r in (rates[0], rate)
            )
            seen = Round(first, now)
            monitor.take(BEHAVIOURS[: len(rate)], seen, seen)
        made.append(monitor)
    return made


def test_few_of_many_lineages_that_stand_still_ever_drift() -> None:
    rate = np.geomspace(0.02, 0.5, 100)
    ever = [bool(m._certain) for m in lineages([rate] * 6, 100)]
    # alpha, and two and a half standard errors of a share of 100.
    assert np.mean(ever) <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 100)


def test_responses_used_twice_fail_the_control() -> None:
    class Stubborn(Talker):
        def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
            return super().generate(chats, sampling.seeded(1))

    lineage = [Stubborn(0.3), Talker(0.3), Talker(0.3)]
    result = drift(lineage, PROMPTS, Sampling(seed=1))
    assert result.control.repeated == 1
    assert not result.control.ok
    assert drift([Talker(0.3)] * 3, PROMPTS, Sampling(seed=1)).control.repeated < 1


@pytest.mark.parametrize(
    ("course", "path"),
    [
        ("returned", (0.05, 0.35, 0.35, 0.05, 0.05)),
        ("recedes", (0.05, 0.75, 0.75, 0.35, 0.35)),
        ("stays", (0.05, 0.35, 0.35, 0.35, 0.35)),
    ],
)
def test_what_comes_back_is_told_from_what_stays(course: str, path: Sequence[float]) -> None:
    found = lineages([np.array([rate]) for rate in path], 20, prompts=200)
    courses = [monitor.behaviour(0).course for monitor in found]
    assert courses.count(course) >= 18
    assert all(monitor.behaviour(0).certain is not None for monitor in found)


def test_what_only_wobbles_is_not_said_to_recede() -> None:
    still = lineages([np.array([0.05])] + [np.array([0.3])] * 5, 60, prompts=80)
    assert sum(monitor.behaviour(0).course != "stays" for monitor in still) <= 3


def test_intervals_hold_at_all_generations_together() -> None:
    rng = np.random.default_rng(2)
    missed = 0
    for _ in range(60):
        for t in range(1, 7):
            draws = rng.choice([-1.0, 0.0, 1.0], 80, p=[0.05, 0.65, 0.3])
            low, high = always_interval(draws, 0.05 / (t * (t + 1)))
            if not low <= 0.25 <= high:
                missed += 1
                break
    assert missed <= 6
    low, high = always_interval(np.repeat([0.0, 1.0], [150, 50]), 0.05)
    assert high - low < 0.3


def test_every_generation_spends_its_own_part_of_the_error() -> None:
    # Where nothing moves, all intervals of a behaviour hold together but for one time in twenty.
    watched = lineages([np.full(4, 0.3)] * 3, 60)
    behaviours = [b for monitor in watched for b in monitor.behaviours()]
    missed = [any(not low <= 0 <= high for low, high in b.always) for b in behaviours]
    assert np.mean(missed) <= 0.05
    for monitor in watched[:3]:
        for j in range(len(monitor.columns)):
            for t, (seen, always) in enumerate(
                zip(monitor.rounds, monitor.behaviour(j).always, strict=True), start=1
            ):
                draws = np.asarray(seen.differences[:, [j]].todense()).ravel()
                assert always == always_interval(draws, 0.05 / (t * (t + 1)))


def test_effects_are_those_of_pairs() -> None:
    (monitor,) = lineages([np.array([0.1, 0.5]), np.array([0.3, 0.5])], 1)
    seen = monitor.rounds[0]
    for j in (0, 1):
        columns = (np.asarray(x[:, [j]].todense()).ravel() for x in (seen.first, seen.now))
        told, expected = monitor.behaviour(j).sizes[0], measure(*columns, paired=True)
        assert (told.rate_a, told.rate_b) == pytest.approx((expected.rate_a, expected.rate_b))
        assert (told.low, told.high) == pytest.approx((expected.low, expected.high))


def test_receding_bets_on_the_way_back_alone() -> None:
    rng = np.random.default_rng(0)
    high, low = (rng.random(200) < 0.4).astype(float), (rng.random(200) < 0.05).astype(float)
    assert receding_log_e([high, low]) > np.log(1000)
    assert receding_log_e([low, high]) < 0


def test_more_prompts_make_smaller_rises_detectable() -> None:
    few, many = (detectable_drift(n, 3, 9.0, [0.1])[0].rise for n in (60, 600))
    assert few is not None
    assert many is not None
    assert many < few
    assert detectable_drift(4, 1, 9.0, [0.1])[0].rise is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("- a list", "holds no concepts"),
        ("one: [a, b, c]", "holds no concepts"),
        ("one: [a, b, c]\ntwo: [a]", "'two' has 1"),
        ("one: [a, b, c]\ntwo: [1, 2, 3]", "holds no concepts"),
        ("one: {", "cannot read"),
    ],
)
def test_concepts_of_another_shape_are_refused(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "concepts.yaml"
    path.write_text(content)
    with pytest.raises(DataError, match=says):
        read_concepts(str(path))


def test_the_shipped_concepts_can_be_resampled() -> None:
    assert all(len(said) >= 8 for said in read_concepts("shipped").values())
    assert read_concepts("none") == {}


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
