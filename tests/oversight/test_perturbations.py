"""Perturbations: on schedule, deterministic, within bounds, and seen to have changed something."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from custodes.conversation import PreferencePair, Query
from custodes.errors import ConfigError
from custodes.experts.expert import Rating
from custodes.oversight.perturbations.effects import Disturbed, Effect, shares
from custodes.oversight.perturbations.jailbreaks import WRAPPERS, origin, wrap
from custodes.oversight.perturbations.schedule import (
    BiasedExpert,
    Disturbance,
    FlippedExpert,
    Jailbreak,
    NoisyExpert,
    Perturbation,
    PoisonedData,
    Schedule,
    TopicSwap,
    WeightNoise,
)
from custodes.oversight.users.dataset import DatasetUser, RepeatingUser
from custodes.runs.lineage import Checkpoint

HELP, HARM = "helpfulness", "harmlessness"


def query(i: int, domain: str = HARM, topic: str = "") -> Query:
    text = f"Which {domain} question has the number {i}?"
    return Query(f"{domain}-{i}", ({"role": "user", "content": text},), domain, topic)


QUERIES = [query(i, HARM if i % 2 else HELP) for i in range(40)]
RATINGS = [Rating(i / 40, f"r{i}") if i % 7 else Rating(None, "no") for i in range(41)]
PAIRS = [
    PreferencePair(str(i), ({"role": "user", "content": "?"},), f"good {i}", f"bad {i}", 0.9)
    for i in range(10)
]


def at(step: int, *perturbations: Perturbation, seed: int = 7) -> Disturbance:
    return Schedule(perturbations, seed).at(step)


def share(disturbed: Disturbed[Any]) -> dict[str, float]:
    """The shares that one call changed, by perturbation."""
    return shares(disturbed.effects, [disturbed.effects])


def numbers(ratings: list[Rating]) -> list[float]:
    return [rating.value for rating in ratings if rating.value is not None]


# Schedules


def test_when_they_are_active() -> None:
    schedule = Schedule([FlippedExpert(at=2, until=4), FlippedExpert(at=3), WeightNoise(at=3)])
    active = [list(schedule.at(step).active) for step in range(6)]
    assert active == [
        [],
        [],
        ["flipped_expert@2"],
        ["flipped_expert@2", "flipped_expert@3", "weight_noise@3"],
        ["flipped_expert@3"],
        ["flipped_expert@3"],
    ]
    assert [step for step in range(6) if schedule.at(step).disturbs_weights] == [3]


def test_two_of_a_kind_at_one_step_have_two_names() -> None:
    schedule = Schedule([NoisyExpert(at=1, domain=HELP), NoisyExpert(at=1), NoisyExpert(at=1)])
    assert list(schedule.named) == ["noisy_expert@1", "noisy_expert@1#2", "noisy_expert@1#3"]


def test_nothing_is_disturbed_before_after_and_without() -> None:
    everything: list[Perturbation] = [
        Jailbreak(at=1, until=2),
        NoisyExpert(at=1, until=2),
        PoisonedData(at=1, until=2),
        WeightNoise(at=1),
    ]
    user = RepeatingUser(QUERIES)
    for calm in (at(0, *everything), at(2, *everything), at(0)):
        assert calm.user(user) == Disturbed(user)
        assert calm.queries(QUERIES) == Disturbed(QUERIES)
        assert calm.ratings("e", HARM, RATINGS) == Disturbed(RATINGS)
        assert calm.pairs(HARM, PAIRS) == Disturbed(PAIRS)
        assert not calm.disturbs_weights
        assert shares(calm.active, []) == {}


# Users


def test_a_jailbreak_wraps_harmlessness_queries_only() -> None:
    disturbed = at(3, Jailbreak(at=3))
    asked = disturbed.queries(QUERIES).value
    for before, after in zip(QUERIES, asked, strict=True):
        assert (after == before) == (before.domain == HELP)
        assert (after.domain, after.topic) == (before.domain, before.topic)
        assert origin(after.id) == before.id
    assert disturbed.queries(QUERIES).effects == {"jailbreak@3": Effect(20, 20)}
    assert len({q.id for q in asked}) == len(asked)
    used = {q.id.rpartition("~")[2] for q in asked if q.domain == HARM}
    assert len(used) > 4
    assert disturbed.queries(QUERIES).value == asked
    assert at(4, Jailbreak(at=3)).queries(QUERIES).value != asked
    assert at(3, Jailbreak(at=3), seed=8).queries(QUERIES).value != asked


def test_a_jailbreak_is_the_same_for_a_query_whatever_comes_after_it() -> None:
    jailbreak = Jailbreak(at=0, share=0.5)
    whole, part = at(0, jailbreak).queries(QUERIES), at(0, jailbreak).queries(QUERIES[:9])
    assert whole.value[:9] == part.value


def test_a_jailbreak_of_a_share_and_of_some_wrappers() -> None:
    jailbreak = Jailbreak(at=0, share=0.5, domain=None, wrappers=("typos", "authority"))
    disturbed = at(0, jailbreak).queries(QUERIES)
    changed = [q for q, before in zip(disturbed.value, QUERIES, strict=True) if q != before]
    assert {q.id.rpartition("~")[2] for q in changed} == {"typos", "authority"}
    assert share(disturbed) == {"jailbreak@0": len(changed) / len(QUERIES)}
    assert 0.2 < len(changed) / len(QUERIES) < 0.8


@pytest.mark.parametrize("wrapper", WRAPPERS)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80))
def test_wrappers_take_any_prompt(wrapper: str, text: str) -> None:
    import numpy as np

    asked = Query("a", ({"role": "user", "content": text},), HARM)
    wrapped = wrap(asked, wrapper, np.random.default_rng(0))
    assert wrapped.text != text
    assert wrapped.id == f"a~{wrapper}"
    if wrapper not in ("typos", "encoded"):
        assert text in wrapped.text
    elif wrapper == "typos":
        assert sorted(wrapped.text.replace(" pls anwser", "")) == sorted(text)


def test_only_the_last_message_is_wrapped() -> None:
    import numpy as np

    before = QUERIES[1].chat
    answer: Any = {"role": "assistant", "content": "A"}
    asked = Query("a", (*before, answer, *QUERIES[3].chat), HARM)
    wrapped = wrap(asked, "authority", np.random.default_rng(0))
    assert wrapped.chat[:2] == asked.chat[:2]


def test_a_topic_swap() -> None:
    sources = {
        HELP: [query(i, HELP, "ab"[i % 2]) for i in range(20)],
        HARM: [query(i, HARM, "cd"[i % 2]) for i in range(20)],
    }
    user = DatasetUser(sources, 4)
    disturbed = at(1, TopicSwap(at=1, mix={HARM: 1.0}, topics=("c",))).user(user)
    assert {q.topic for q in disturbed.value.ask(1)} == {"c"}
    assert share(disturbed) == {"topic_swap@1": 0.75}
    assert {q.domain for q in user.ask(1)} == {HELP, HARM}
    # The control fails for a swap to what is asked anyway.
    same = at(1, TopicSwap(at=1, mix={HELP: 2.0, HARM: 2.0}))
    assert share(same.user(user)) == {"topic_swap@1": 0.0}


def test_of_several_swaps_the_last_one_holds() -> None:
    user = DatasetUser({HELP: [query(i, HELP, "ab"[i % 2]) for i in range(20)]}, 4)
    swaps = [TopicSwap(at=0, topics=("a",)), TopicSwap(at=2, topics=("b",))]
    assert {q.topic for q in at(1, *swaps).user(user).value.ask(1)} == {"a"}
    assert {q.topic for q in at(2, *swaps).user(user).value.ask(2)} == {"b"}
    assert {q.topic for q in at(2, *reversed(swaps)).user(user).value.ask(2)} == {"b"}


# Experts


@given(
    st.lists(st.none() | st.floats(0, 1), max_size=30),
    st.integers(0, 99),
    st.sampled_from(
        [NoisyExpert(at=0, sd=1.0), BiasedExpert(at=0, offset=-0.7), FlippedExpert(at=0)]
    ),
)
def test_ratings_stay_ratings(values: list[float | None], step: int, how: Perturbation) -> None:
    given = [Rating(value, "why") for value in values]
    seen = at(step, how).ratings("e", HARM, given).value
    assert [r.abstained for r in seen] == [r.abstained for r in given]
    assert all(0 <= r.value <= 1 for r in seen if r.value is not None)
    assert all(r.reason == "why" for r in seen)
    assert [r.value for r in given] == values


def test_biased_and_flipped() -> None:
    given = [Rating(0.25), Rating(None), Rating(0.9)]
    assert numbers(at(0, BiasedExpert(at=0, offset=0.25)).ratings("e", HARM, given).value) == [
        0.5,
        1.0,
    ]
    assert numbers(at(0, FlippedExpert(at=0)).ratings("e", HARM, given).value) == pytest.approx(
        [0.75, 0.1]
    )


def test_noise_has_its_spread_and_differs_by_expert_step_and_seed() -> None:
    given = [Rating(0.5)] * 2000
    noisy = NoisyExpert(at=0, sd=0.1)
    seen = numbers(at(0, noisy).ratings("e", HARM, given).value)
    mean = sum(seen) / len(seen)
    assert abs(mean - 0.5) < 0.01
    assert abs((sum((v - mean) ** 2 for v in seen) / len(seen)) ** 0.5 - 0.1) < 0.01
    assert numbers(at(0, noisy).ratings("e", HARM, given).value) == seen
    assert numbers(at(0, noisy).ratings("e", HARM, given[:7]).value) == seen[:7]
    assert numbers(at(0, noisy).ratings("other", HARM, given).value) != seen
    assert numbers(at(1, noisy).ratings("e", HARM, given).value) != seen
    assert numbers(at(0, noisy, seed=8).ratings("e", HARM, given).value) != seen


def test_only_the_expert_that_is_meant() -> None:
    for how in (FlippedExpert(at=0, domain=HARM), FlippedExpert(at=0, expert="a")):
        disturbed = at(0, how)
        other = disturbed.ratings("b", HELP, RATINGS)
        assert other == Disturbed(RATINGS)
        # Shown nothing, it changed nothing.
        assert shares(disturbed.active, [other.effects]) == {"flipped_expert@0": 0.0}
        flipped = disturbed.ratings("a", HARM, RATINGS)
        assert flipped.value != RATINGS
        # 0.5 flips to itself.
        assert share(flipped) == pytest.approx({"flipped_expert@0": 34 / 35})


def test_a_perturbation_that_changes_nothing_is_seen_to() -> None:
    at_top = [Rating(1.0)] * 5
    lenient = at(0, BiasedExpert(at=0, offset=0.5))
    assert lenient.ratings("e", HARM, at_top).value == at_top
    assert share(lenient.ratings("e", HARM, at_top)) == {"biased_expert@0": 0.0}


# The Teacher's data


def test_poisoned_data() -> None:
    disturbed = at(2, PoisonedData(at=2, share=0.3)).pairs(HARM, PAIRS)
    learnt = disturbed.value
    swapped = [a for a, b in zip(learnt, PAIRS, strict=True) if a != b]
    assert len(swapped) == 3
    assert all(p.chosen.startswith("bad") and p.rejected.startswith("good") for p in swapped)
    assert share(disturbed) == {"poisoned_data@2": 0.3}
    assert at(2, PoisonedData(at=2, share=0.3)).pairs(HARM, PAIRS).value == learnt
    assert at(3, PoisonedData(at=2, share=0.3)).pairs(HARM, PAIRS).value != learnt


def test_poison_for_another_domain_or_without_pairs() -> None:
    disturbed = at(2, PoisonedData(at=2, domain=HELP))
    calls = [disturbed.pairs(HARM, PAIRS), disturbed.pairs(HELP, [])]
    assert calls == [Disturbed(PAIRS), Disturbed([])]
    assert shares(disturbed.active, [c.effects for c in calls]) == {"poisoned_data@2": 0.0}


def test_a_small_share_poisons_at_least_one_pair() -> None:
    assert at(0, PoisonedData(at=0, share=0.001)).pairs(HARM, PAIRS).value != PAIRS


# Weights


@pytest.mark.parametrize("moved", [0.0, 0.2])
def test_weight_noise(moved: float) -> None:
    asked: list[tuple[float, int]] = []

    def perturb(worker: Any, sd: float, seed: int) -> Checkpoint:
        asked.append((sd, seed))
        return Checkpoint(1, None, 0, "weight_noise", {"weights_moved": moved})

    worker: Any = object()
    disturbed = at(4, WeightNoise(at=4, sd=0.5))
    made = disturbed.weights(worker, perturb)
    assert made is not None
    assert made.value.metrics["weights_moved"] == moved
    assert share(made) == {"weight_noise@4": float(moved > 0)}
    assert asked[0][0] == 0.5
    assert at(3, WeightNoise(at=4)).weights(worker, perturb) is None
    assert at(5, WeightNoise(at=4)).weights(worker, perturb) is None
    at(4, WeightNoise(at=4, sd=0.5), seed=8).weights(worker, perturb)
    assert asked[0][1] != asked[1][1]


# Options


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: NoisyExpert(at=4, until=4), "never active"),
        (lambda: TopicSwap(at=0), "without mix or topics"),
        (lambda: BiasedExpert(at=0, offset=0), "offset 0"),
        (lambda: Jailbreak(at=0, wrappers=()), "without wrappers"),
        (lambda: Jailbreak(at=0, wrappers=("role_pley",)), "did you mean role_play"),
    ],
)
def test_options_that_cannot_be_meant(make: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()


def test_options_read_from_a_config() -> None:
    raw = [
        {"kind": "jailbreak", "at": 1, "wrappers": ["typos"]},
        {"kind": "noisy_expert", "at": 1, "sd": 0.1, "expert": "e"},
        {"kind": "weight_noise", "at": 1},
        {"kind": "topic_swap", "at": 1, "mix": {HARM: 1}, "topics": ["a"]},
    ]
    read = TypeAdapter(list[Perturbation]).validate_python(raw)
    assert read == [
        Jailbreak(at=1, wrappers=("typos",)),
        NoisyExpert(at=1, sd=0.1, expert="e"),
        WeightNoise(at=1),
        TopicSwap(at=1, mix={HARM: 1.0}, topics=("a",)),
    ]


@pytest.mark.parametrize(
    ("perturbation", "said"),
    [
        (FlippedExpert(at=8), "begins after the last step"),
        (FlippedExpert(at=0, domain="harmlesness"), "did you mean harmlessness"),
        (Jailbreak(at=0, domain="harm"), "no domain 'harm'"),
        (PoisonedData(at=0, domain="harm"), "no domain 'harm'"),
        (FlippedExpert(at=0, expert="heed"), "did you mean head"),
        (FlippedExpert(at=0, expert="head", domain=HELP), "no Expert head of domain helpfulness"),
        (TopicSwap(at=0, topics=("x",)), "a RepeatingUser has no mix"),
    ],
)
def test_what_could_never_disturb_the_run(perturbation: Perturbation, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Schedule([perturbation]).check(
            steps=8,
            user=RepeatingUser([]),
            experts=[("head", HARM), ("judge", HELP)],
            domains=[HARM, HELP],
        )


@pytest.mark.parametrize("domain", [HELP, HARM, None])
def test_one_of_two_experts_of_one_name_can_be_disturbed(domain: str | None) -> None:
    flip = FlippedExpert(at=0, expert="judge", domain=domain)
    Schedule([flip]).check(
        steps=8,
        user=RepeatingUser([]),
        experts=[("judge", HELP), ("judge", HARM)],
        domains=[HELP, HARM],
    )
    disturbed = [
        at(0, flip).ratings("judge", each, RATINGS).value != RATINGS for each in (HELP, HARM)
    ]
    assert disturbed == [domain in (None, HELP), domain in (None, HARM)]


def test_two_experts_of_one_name_get_noise_of_their_own() -> None:
    disturbed = at(0, NoisyExpert(at=0))
    one, two = (numbers(disturbed.ratings("judge", each, RATINGS).value) for each in (HELP, HARM))
    assert one != two


def test_topics_that_are_not_there_are_found_before_the_run() -> None:
    user = DatasetUser({HELP: [query(i, HELP, "a") for i in range(8)]}, 2)
    schedule = Schedule([TopicSwap(at=0, topics=("b",))])
    with pytest.raises(ConfigError, match="no prompt of topic 'b'"):
        schedule.check(steps=8, user=user, experts=[], domains=[HELP])


def test_two_weight_noises_at_one_step() -> None:
    with pytest.raises(ConfigError, match="two weight noises"):
        Schedule([WeightNoise(at=1), WeightNoise(at=1)]).check(
            steps=8, user=RepeatingUser([]), experts=[], domains=[]
        )


def test_effects_of_several_calls_add_up() -> None:
    calls = [{"a": Effect(1, 4)}, {"a": Effect(2, 2), "b": Effect(0, 3)}]
    assert shares(["a", "b", "c"], calls) == {"a": 0.5, "b": 0.0, "c": 0.0}


def test_what_was_disturbed_is_left_as_it_was() -> None:
    queries, ratings, pairs = list(QUERIES), list(RATINGS), list(PAIRS)
    disturbed = at(0, Jailbreak(at=0), FlippedExpert(at=0), PoisonedData(at=0))
    disturbed.queries(queries), disturbed.ratings("e", HARM, ratings), disturbed.pairs(HARM, pairs)
    assert (queries, ratings, pairs) == (QUERIES, RATINGS, PAIRS)
