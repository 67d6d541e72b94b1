"""Users: pure in the seed and the step, fair over the steps, and honest about what they drop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custodes.conversation import Chat, Query, Response
from custodes.errors import ConfigError, DataError
from custodes.models.base import LanguageModel, Sampling, Usage
from custodes.oversight.roles import User
from custodes.oversight.users.cleaning import alike, clean
from custodes.oversight.users.dataset import DatasetUser, LlmUser, MixedUser, RepeatingUser
from custodes.oversight.users.schedule import Deck, Mix

HELP, HARM = "helpfulness", "harmlessness"


def query(text: str, domain: str = HELP, topic: str = "") -> Query:
    return Query(f"{domain}-{text}", ({"role": "user", "content": text},), domain, topic)


def queries(n: int, domain: str = HELP, topics: Sequence[str] = ("",)) -> list[Query]:
    return [query(f"{domain} {i}?", domain, topics[i % len(topics)]) for i in range(n)]


class Scripted:
    """A model that writes what it is told to, one list of texts for each call."""

    name, engine, version = "scripted", "simulated", "1"

    def __init__(self, *calls: Sequence[str]) -> None:
        self.calls = list(calls)
        self.seen: list[tuple[list[Chat], Sampling]] = []
        self.usage = Usage()

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
        self.seen.append((list(chats), sampling))
        texts = self.calls.pop(0)
        assert len(texts) == len(chats)
        return [[text] for text in texts]


# Mixes


@given(
    st.lists(st.floats(0.01, 10), min_size=1, max_size=5),
    st.integers(1, 20),
    st.integers(0, 2**31),
    st.integers(0, 60),
)
def test_every_step_has_its_share(shares: list[float], batch: int, seed: int, step: int) -> None:
    mix = Mix({str(i): share for i, share in enumerate(shares)}, batch, seed)
    counts = {domain: len(positions) for domain, positions in mix.positions(step).items()}
    assert sum(counts.values()) == batch
    for i, share in enumerate(shares):
        expected = batch * share / sum(shares)
        assert abs(counts[str(i)] - expected) < 1 + 1e-6
        assert counts[str(i)] <= mix.most(str(i))


@given(st.floats(0.05, 0.95), st.integers(1, 9), st.integers(0, 2**31))
def test_shares_come_out_over_the_steps(share: float, batch: int, seed: int) -> None:
    mix = Mix({"a": share, "b": 1 - share}, batch, seed)
    after = mix.positions(200)["a"].start
    assert abs(after - 200 * batch * share) < 6


@given(st.integers(1, 7), st.integers(0, 2**31))
def test_positions_go_on_where_the_step_before_ended(batch: int, seed: int) -> None:
    mix = Mix({"a": 2, "b": 1, "c": 0.3}, batch, seed)
    for step in range(20):
        here, there = mix.positions(step), mix.positions(step + 1)
        assert all(here[domain].stop == there[domain].start for domain in mix.domains)


@pytest.mark.parametrize("shares", [{"a": -1.0, "b": 2.0}, {"a": 0.0}, {"a": float("nan")}, {}])
def test_no_mix(shares: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Mix(shares, 4, 0)


# Decks


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31), st.integers(0, 500))
def test_no_hand_holds_an_item_twice(n: int, hand: int, seed: int, start: int) -> None:
    hand = min(n, hand)
    dealt = Deck(range(n), hand, seed).deal(range(start, start + hand))
    assert len(set(dealt)) == hand


@given(st.integers(1, 40), st.integers(1, 10), st.integers(0, 2**31), st.integers(0, 5))
def test_every_round_deals_every_item_once(n: int, hand: int, seed: int, round_: int) -> None:
    deck = Deck(range(n), min(n, hand), seed)
    assert sorted(deck.deal(range(n * round_, n * (round_ + 1)))) == list(range(n))


def test_rounds_are_shuffled_anew() -> None:
    deck = Deck(range(40), 4, 0)
    assert deck.deal(range(40)) != deck.deal(range(40, 80))


# Users over data sets


def test_users_keep_their_contract() -> None:
    sources = {HELP: queries(20), HARM: queries(20, HARM)}
    for user in (
        RepeatingUser(queries(3)),
        DatasetUser(sources, 4),
        LlmUser(Scripted(), sources, 4),
    ):
        assert isinstance(user, User)
        assert user.turns == 1
    assert isinstance(Scripted(), LanguageModel)


def test_repeating_user() -> None:
    user = RepeatingUser(queries(3))
    assert user.ask(0) == user.ask(7) == queries(3)
    assert user.report(0) == {"asked": 3, "dropped": 0}


def test_a_step_is_a_function_of_the_seed_and_the_step_alone() -> None:
    sources = {HELP: queries(50), HARM: queries(50, HARM)}
    user = DatasetUser(sources, 7, mix={HELP: 1, HARM: 2}, seed=3)
    forwards = [user.ask(step) for step in range(30)]
    fresh = DatasetUser(sources, 7, mix={HELP: 1, HARM: 2}, seed=3)
    assert [fresh.ask(step) for step in reversed(range(30))] == forwards[::-1]
    assert DatasetUser(sources, 7, seed=4).ask(0) != DatasetUser(sources, 7, seed=5).ask(0)


def test_everything_is_asked_before_anything_is_asked_again() -> None:
    user = DatasetUser({HELP: queries(24)}, 5, seed=1)
    asked = Counter(q.id for step in range(24) for q in user.ask(step))
    assert set(asked.values()) == {5}
    for one, two in pairwise(user.ask(step) for step in range(24)):
        assert len({q.id for q in one}) == 5
        assert not {q.id for q in one} & {q.id for q in two}


def test_duplicates_are_left_out_and_counted() -> None:
    again = Query("other", query("helpfulness 1?").chat, HARM)
    user = DatasetUser(
        {HELP: [*queries(4), query("helpfulness 0?")], HARM: [again]}, 1, mix={HELP: 1}
    )
    assert user.duplicates == 2
    assert len(user.sources[HELP]) == 4
    assert user.sources[HARM] == []


def test_two_prompts_with_one_id() -> None:
    with pytest.raises(DataError, match="two prompts have the id"):
        DatasetUser({HELP: [query("a"), Query("helpfulness-a", query("b").chat, HELP)]}, 1)


def test_too_few_prompts() -> None:
    with pytest.raises(ConfigError, match="asks 8 queries of harmlessness, which has 3"):
        DatasetUser({HELP: queries(20), HARM: queries(3, HARM)}, 16)
    with pytest.raises(ConfigError, match="did you mean helpfulness"):
        DatasetUser({HELP: queries(20)}, 4, mix={"helpfullness": 1})


def test_remixed() -> None:
    topics = ("a", "b")
    sources = {HELP: queries(20, HELP, topics), HARM: queries(20, HARM, ("c", "d"))}
    user = DatasetUser(sources, 6)
    assert isinstance(user, MixedUser)
    assert user.composition() == {
        (HELP, "a"): 0.25,
        (HELP, "b"): 0.25,
        (HARM, "c"): 0.25,
        (HARM, "d"): 0.25,
    }
    only = user.remixed(None, ["b", "d"])
    assert {q.topic for step in range(9) for q in only.ask(step)} == {"b", "d"}
    assert {q.domain for q in user.remixed({HARM: 1}, None).ask(0)} == {HARM}
    assert user.remixed(None, ["c"]).composition() == {(HARM, "c"): 1.0}
    with pytest.raises(ConfigError, match="no prompt of topic 'e'"):
        user.remixed(None, ["e"])
    with pytest.raises(ConfigError, match="asks 6 queries of harmlessness, which has 0"):
        user.remixed({HARM: 1}, ["a"])


# Cleaning


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("How do I boil an egg?", "How do I boil an egg?"),
        ('\n\n "How do I boil an egg?"\nSeven minutes.', "How do I boil an egg?"),
        ("1. How do I boil an egg?", "How do I boil an egg?"),
        ("**User:** How do I boil an egg?", "How do I boil an egg?"),
        ("“How do I boil an egg?”", "How do I boil an egg?"),
        ("Wie heißt “Ei” auf Spanisch?", "Wie heißt “Ei” auf Spanisch?"),
    ],
)
def test_clean(raw: str, text: str) -> None:
    assert clean(raw) == (text, "")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "empty"),
        ("\n \n", "empty"),
        ("Eggs? Eggs!", "too short"),
        ("Why " + "oh " * 3 + "x" * 400, "too long"),
        ("I'm sorry, but I can't assist with that.", "assistant's voice"),
        ("I’m sorry, but I can’t assist with that.", "assistant's voice"),
        ("Sure, here is one more message.", "assistant's voice"),
        ("What can I, as an AI, do about eggs?", "assistant's voice"),
        ("The next message is this:", "unfinished"),
        ("You're right. You're right. You're right. You're right.", "repetitive"),
        ("Why study study study study?", "repetitive"),
        ("How to make a 🌍🌟🌎🌌▄🌏▄🌌🌎▄🌟", "not language"),
        ("How do I \x1b[31m boil an egg?", "not language"),
    ],
)
def test_refused(raw: str, reason: str) -> None:
    assert clean(raw) == ("", reason)


@given(st.text(max_size=400))
def test_what_is_cleaned_is_one_visible_line(raw: str) -> None:
    text, reason = clean(raw)
    assert bool(text) != bool(reason)
    assert text.isprintable()
    assert len(text) <= 320


def test_alike() -> None:
    assert alike("How do I boil an egg?", "how do I boil an EGG")
    assert not alike("How do I boil an egg?", "How do I bake bread?")


# A User who is a model

SOURCES = {
    HELP: [query(f"What about helpful thing number {i}?", HELP, "cooking") for i in range(6)],
    HARM: [
        query(f"How is harmful thing number {i} done?", HARM, "peace_violence") for i in range(6)
    ],
}


def test_it_writes_after_examples_of_the_topic() -> None:
    model = Scripted(["How do I boil an egg?", "Where do they keep the knives?"])
    user = LlmUser(model, SOURCES, 2, seed=5)
    asked = user.ask(3)
    assert [(q.text, q.domain, q.topic) for q in asked] == [
        ("How do I boil an egg?", HELP, "cooking"),
        ("Where do they keep the knives?", HARM, "peace_violence"),
    ]
    [(chats, sampling)] = model.seen
    assert sampling.n == 1
    assert chats[1][-1] == {"role": "user", "content": "Write one message about peace violence."}
    shown = {m["content"] for m in chats[1] if m["role"] == "assistant"}
    assert len(shown) == 4
    assert shown <= {q.text for q in SOURCES[HARM]}


def test_it_is_a_function_of_the_seed_and_the_step() -> None:
    texts = ["How do I boil an egg?", "Where do they keep the knives?"]
    one, two = Scripted(texts, texts), Scripted(texts)
    first = LlmUser(one, SOURCES, 2, seed=5)
    first.ask(0)
    assert first.ask(1) == LlmUser(two, SOURCES, 2, seed=5).ask(1)
    assert one.seen[1] == two.seen[0]
    assert one.seen[0][1].seed != one.seen[1][1].seed


def test_what_is_unusable_is_written_anew_then_dropped_and_counted() -> None:
    model = Scripted(
        ["Which eggs are best?", "Which eggs are best?", "What about helpful thing number 2?", ""],
        ["Where are the knives?", "Write one message about cooking.", "Sure, here it is."],
        ["Sure, here it is.", ""],
    )
    user = LlmUser(model, SOURCES, 4, mix={HELP: 1}, tries=3)
    # Slots 1, 2 and 3 are written anew; the second of the first texts is a duplicate.
    assert [q.text for q in user.ask(0)] == ["Which eggs are best?", "Where are the knives?"]
    assert user.report(0) == {
        "asked": 4,
        "rewritten": 5,
        "dropped": 2,
        "refused: duplicate": 1,
        "refused: copied": 1,
        "refused: empty": 2,
        "refused: instruction": 1,
        "refused: assistant's voice": 2,
    }
    assert len({sampling.seed for _, sampling in model.seen}) == 3


def test_an_empty_step_is_possible_and_said() -> None:
    user = LlmUser(Scripted([""], [""]), {HELP: SOURCES[HELP]}, 1, tries=2)
    assert user.ask(0) == []
    assert user.follow_up(0, [], []) == []
    assert user.report(0) == {"asked": 1, "rewritten": 1, "dropped": 1, "refused: empty": 2}


def test_out_of_domain_queries_are_counted_beside_the_accuracy_of_the_test() -> None:
    model = Scripted(["Which helpful thing is new?", "What about a helpful thing?"])
    user = LlmUser(model, SOURCES, 2)
    assert [q.domain for q in user.ask(0)] == [HELP, HARM]
    report = user.report(0)
    assert report["out_of_domain"] == 1
    assert report["domain_accuracy"] == 1.0


def test_follow_ups_see_the_conversation_with_roles_swapped() -> None:
    model = Scripted(
        ["How do I boil an egg?"], ["And how long for two eggs?"], ["And a goose egg?"]
    )
    user = LlmUser(model, {HELP: SOURCES[HELP]}, 1, turns=3, seed=1)
    asked = user.ask(0)
    for answer in ("Seven minutes.", "The same."):
        before = asked
        asked = user.follow_up(0, asked, [Response(answer, 0, "v")])
        assert asked[0].chat[:-2] == before[0].chat
        assert asked[0].chat[-2] == {"role": "assistant", "content": answer}
        assert (asked[0].id, asked[0].domain) == (before[0].id, HELP)
    assert asked[0].text == "And a goose egg?"
    chat = model.seen[2][0][0]
    assert [m["role"] for m in chat] == ["system", *["user", "assistant"] * 6, "user"]
    assert chat[-3]["content"].startswith("Seven minutes.")
    assert chat[-2] == {"role": "assistant", "content": "And how long for two eggs?"}
    assert chat[-1]["content"].startswith("The same.")
    assert model.seen[1][1].seed != model.seen[2][1].seed


def test_a_follow_up_that_repeats_is_dropped() -> None:
    model = Scripted(["How do I boil an egg?"], ["How do I boil an egg?"], ["Seven long minutes."])
    user = LlmUser(model, {HELP: SOURCES[HELP]}, 1, turns=2, tries=2)
    assert user.follow_up(0, user.ask(0), [Response("Seven long minutes.", 0, "v")]) == []
    assert user.report(0)["refused: copied"] == 2


def test_llm_user_remixed() -> None:
    user = LlmUser(Scripted(["Who has the knives?"] * 1), SOURCES, 1, turns=2)
    swapped = user.remixed(None, ["peace_violence"])
    assert isinstance(user, MixedUser)
    assert swapped.composition() == {(HARM, "peace_violence"): 1.0}
    assert [q.domain for q in swapped.ask(0)] == [HARM]
    assert swapped.turns == 2


def test_llm_user_needs_examples() -> None:
    with pytest.raises(ConfigError, match="no examples"):
        LlmUser(Scripted(), {HELP: []}, 1)


@pytest.mark.bundled
def test_bundled_model_as_user(bundled: object) -> None:
    from custodes.data import read_prompts
    from custodes.models.resolve import load

    examples = {HELP: read_prompts("everyday", domain=HELP)}
    user = LlmUser(load("smollm2-135m", engine="torch"), examples, 4, tries=2)
    asked = user.ask(0)
    report = user.report(0)
    assert len(asked) == report["asked"] - report["dropped"]
    assert all(clean(q.text) == (q.text, "") for q in asked)
