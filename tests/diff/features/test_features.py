from __future__ import annotations

import re

import numpy as np
import pytest

from custodes.diff.features.boilerplate import boilerplate_indicators
from custodes.diff.features.clusters import cluster_texts, k_means, name_clusters
from custodes.diff.features.conditions import find_conditions
from custodes.diff.features.embedding import embed, pieces
from custodes.diff.features.indicators import Indicator, from_masks, without_duplicates
from custodes.diff.features.lexical import lexical_indicators, sentence_end_indicators
from custodes.diff.features.phrases import phrase_indicators
from custodes.diff.features.sentences import read_sentences
from custodes.diff.features.style import style_indicators, style_values
from custodes.diff.features.text import read_corpus, split_sentences, tokenize
from custodes.diff.features.word_clusters import word_cluster_indicators

RNG = np.random.default_rng(0)
WORDS = "a b c d e f g h i j . , ?".split()  # noqa: SIM905
TEXTS = [" ".join(RNG.choice(WORDS, RNG.integers(0, 12))) for _ in range(60)]


def _has(text: str, statement: str) -> bool:
    """Say the slow way whether a text has what a phrase indicator claims."""
    verb, phrase = re.fullmatch(r"(\D+?) “(.*)”", statement).groups()  # type: ignore[union-attr]
    text_tokens, tokens = tokenize(text), tokenize(phrase)
    n = len(tokens)
    places = [i for i in range(len(text_tokens) - n + 1) if text_tokens[i : i + n] == tokens]
    return {
        "contains": bool(places),
        "begins with": 0 in places,
        "ends with": len(text_tokens) - n in places,
        "is exactly": text_tokens == tokens,
    }[verb]


def test_phrases_are_exactly_the_frequent_runs_of_tokens() -> None:
    least = 8
    indicators = phrase_indicators(read_corpus(TEXTS), least, longest=3)
    shows = indicators.shows.toarray() > 0
    for indicator, has in zip(indicators.items, shows.T, strict=True):
        assert [_has(t, indicator.statement) for t in TEXTS] == has.tolist()
    statements = {c.statement for c in indicators.items}
    for one in WORDS:
        for two in WORDS:
            n = sum(_has(t, f"contains “{one} {two}”") for t in TEXTS)
            tight = two in ".,?"
            statement = f"contains “{one}{two}”" if tight else f"contains “{one} {two}”"
            assert (statement in statements) == (n >= least)


def test_highlights_mark_what_a_column_shows() -> None:
    texts = ["Well, I am Sorry.", "sorry! what now?", "I can't say", "so what\n- one\n- two"] * 4
    corpus = read_corpus(texts)
    for indicators in (phrase_indicators(corpus, 4), lexical_indicators(texts, [""] * 16, corpus)):
        for indicator, has in zip(indicators.items, indicators.shows.toarray().T > 0, strict=True):
            if indicator.pattern and "at least" not in indicator.statement:
                marked = [bool(re.search(indicator.pattern, t)) for t in texts]
                assert marked == has.tolist(), indicator


@pytest.mark.parametrize(
    ("text", "behaviour"),
    [
        ("I'm sorry, I can't help with that.", "refuses"),
        ("I am SORRY about it", "apologises"),
        ("Perhaps it rains.", "hedges"),
        ("Great question! Yes.", "flatters"),
        ("As an AI language model, no.", "speaks as an AI"),
        ("What do you think?", "ends with a question"),
        ("- one\n- two", "has a bullet at least twice"),
        ("1. one\n2. two", "has a numbered point at least twice"),
        ("```\ncode\n```", "has a code block at least twice"),
        ("Nice 😊", "has an emoji"),
        ("the quick brown", "breaks off"),
        ("", "is empty"),
        ("hello there", "has no capital letter"),
        ("HELLO THERE", "is in capitals"),
        ("No lo sé, pero es una idea de la gente", "is in Spanish"),
        ("Why? Why? Because the sky is blue. Because the sky is blue.", "repeats a sentence"),
        ("what is it? It is a dog.", "contains the prompt"),
        ("a\x1b[31mb", "has a control character"),
    ],
)
def test_behaviours_are_seen(text: str, behaviour: str) -> None:
    texts = [text, "The dog sleeps."]
    indicators = lexical_indicators(texts, ["What is it?"] * 2, read_corpus(texts))
    names = [c.statement for c in indicators.items]
    assert indicators.shows[:, names.index(behaviour)].toarray().ravel().tolist() == [1, 0]


def test_styles_are_cut_at_quantiles_of_all_responses() -> None:
    texts = [" ".join(["word"] * n) for n in range(1, 101)]
    points = embed(texts)
    values = style_values(texts, read_corpus(texts), read_sentences(texts), points, points)
    indicators = style_indicators(values, len(texts))
    names = [c.statement for c in indicators.items]
    shows = indicators.shows.toarray() > 0
    low = next(i for i, name in enumerate(names) if name.startswith("has words ≤"))
    assert shows[:, low].sum() == 1
    assert shows[0, low]


def test_equal_indicators_are_one() -> None:
    mask = np.array([True, False, True])
    indicators = from_masks(
        [Indicator("feature", "f", x) for x in "abc"], [mask, ~mask, mask.copy()], 3
    )
    assert [c.statement for c in without_duplicates(indicators).items] == ["a", "b"]


def test_equal_indicators_go_by_the_plainest_name_and_keep_their_family() -> None:
    mask = np.array([True, False, True])
    made = [
        Indicator("feature", "style", "is long", form="style", generic=True),
        Indicator("phrase", "word", "contains “so”", form="quotation"),
        Indicator("phrase", "phrase", "contains “so it”", form="quotation"),
    ]
    (one,) = without_duplicates(from_masks(made, [mask] * 3, 3)).items
    # What is tested stays: the family, with its share of the error budget.
    assert (one.statement, one.family, one.generic) == ("contains “so”", "style", True)


def test_clusters_do_not_depend_on_who_answered_and_find_groups() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 32))
    group = rng.integers(0, 3, 150)
    points = (centres[group] + 0.1 * rng.normal(size=(150, 32))).astype(np.float32)
    *_, density = cluster_texts(points, least=8, seed=0)
    for g in range(3):
        labels = density[(group == g) & (density >= 0)]
        assert len(set(labels.tolist())) == 1
    assert len(k_means(points, 5, 0)) == 150


def test_cluster_names_are_what_its_members_have_and_others_lack() -> None:
    texts = ["the red apple falls"] * 5 + ["the blue sea rests"] * 5
    labels = np.repeat([0, 1], 5)
    names = name_clusters(read_corpus(texts), labels)
    assert set(names[0]) == {"red", "apple", "falls", "the"}
    assert names[0][-1] == "the"


def test_conditions_hold_for_what_they_say() -> None:
    prompts = [
        f"What is {w}?" if i % 2 else f"Describe this {w}" for i, w in enumerate("abcdefgh" * 6)
    ]
    ids = [f"{'red' if i < 24 else 'blue'}-{i}" for i in range(48)]
    conditions = find_conditions(ids, prompts, embed(prompts), 0)
    hold = dict(zip(conditions.statements, conditions.hold.T, strict=True))
    assert hold["ends with a question mark"].tolist() == [bool(i % 2) for i in range(48)]
    assert hold["has an id that starts with “red”"].sum() == 24
    assert all(0.02 <= h.mean() <= 0.6 for h in hold.values())


def test_text_is_cut_safely() -> None:
    assert tokenize("\x02\x03") == ["\ufffd", "\ufffd"]
    assert tokenize("很好 don’t") == ["很", "好", "don't"]
    assert split_sentences("One. Two!\n\nThree") == ["One.", "Two!", "Three"]
    empty = read_corpus([])
    assert empty.n == 0


def test_both_ends_of_a_response_are_looked_at() -> None:
    texts = ["Great question! It is so.", "It is so. Great question!", "", "No end"] * 4
    indicators = sentence_end_indicators(read_sentences(texts))
    names = [c.statement for c in indicators.items]
    first, last = (
        indicators.shows[:, names.index(f"flatters in its {end} sentence")].toarray().ravel()[:4]
        for end in ("first", "last")
    )
    assert first.tolist() == [1, 0, 0, 0]
    assert last.tolist() == [0, 1, 0, 0]


def test_sentences_keep_their_order_and_their_owner() -> None:
    sentences = read_sentences(["One. Two.", "", "Two. Three! One."])
    assert [sentences.texts[k] for k in sentences.which] == [
        "One.",
        "Two.",
        "Two.",
        "Three!",
        "One.",
    ]
    assert sentences.count.tolist() == [2, 0, 3]
    for last, ends in ((False, ["One.", "Two."]), (True, ["Two.", "One."])):
        owner, which = sentences.end(last)
        assert owner.tolist() == [0, 2]
        assert [sentences.texts[k] for k in which] == ends


def test_words_of_similar_meaning_are_one_behaviour() -> None:
    rng = np.random.default_rng(0)
    sea = "ocean waves sailor harbour beach tide ship coast anchor fishing boat shore".split()  # noqa: SIM905
    other = [f"{a}{b}{c}" for a in "bdk" for b in "aeiou" for c in "lmnprst"]
    texts = [f"{rng.choice(other)} {rng.choice(other)}" for _ in range(600)]
    texts[:24] = [f"{text} {sea[k % 12]}" for k, text in enumerate(texts[:24])]
    indicators = word_cluster_indicators(read_corpus(texts), seed=0)
    shows = indicators.shows.toarray() > 0
    assert max((s[:24].mean() - s[24:].mean()) for s in shows.T) > 0.6


def test_pieces_are_counted_word_by_word() -> None:
    short, long = pieces(["the", "xqzvkjw" * 4])
    assert short == 1
    assert long > 5
    assert pieces(["the"]).tolist() == [1]


def test_boilerplate_is_wording_shared_with_other_prompts() -> None:
    texts = ["It is so. Have a nice day.", "No. HAVE A NICE DAY.", "Have a nice day. It is so."]
    names = {
        (c.measure, c.least): k
        for k, c in enumerate(boilerplate_indicators([], [], read_sentences([])).items)
    }

    def shown(what: str, prompts: list[str]) -> list[float]:
        indicators = boilerplate_indicators(texts, prompts, read_sentences(texts))
        one = indicators.shows[:, names[what, 3]]
        result: list[float] = one.toarray().ravel().tolist()
        return result

    assert shown("has a sentence that answers to other prompts have", ["a", "b", "c"]) == [1, 1, 1]
    # Several answers to one prompt are one prompt.
    assert shown("has a sentence that answers to other prompts have", ["a", "b", "b"]) == [0, 0, 0]
    two = "ends like answers to other prompts", 2
    indicators = boilerplate_indicators(texts, ["a", "b", "c"], read_sentences(texts))
    assert indicators.shows[:, names[two]].toarray().ravel().tolist() == [1, 1, 0]
