from __future__ import annotations

import re

import numpy as np
import pytest

from custodes.diff.features.boilerplate import stock_columns
from custodes.diff.features.clusters import cluster_texts, k_means, name_clusters
from custodes.diff.features.conditions import find_conditions
from custodes.diff.features.embedding import embed, pieces
from custodes.diff.features.indicators import Column, from_masks, without_duplicates
from custodes.diff.features.lexical import end_columns, feature_columns
from custodes.diff.features.phrases import phrase_columns
from custodes.diff.features.sentences import read_parts
from custodes.diff.features.style import style_columns
from custodes.diff.features.text import read_corpus, sentences, tokenize
from custodes.diff.features.word_clusters import meaning_columns

RNG = np.random.default_rng(0)
WORDS = "a b c d e f g h i j . , ?".split()  # noqa: SIM905
TEXTS = [" ".join(RNG.choice(WORDS, RNG.integers(0, 12))) for _ in range(60)]


def _has(text: str, statement: str) -> bool:
    """Say the slow way whether a text has what a phrase column claims."""
    verb, phrase = re.fullmatch(r"(\D+?) “(.*)”", statement).groups()  # type: ignore[union-attr]
    said, tokens = tokenize(text), tokenize(phrase)
    n = len(tokens)
    places = [i for i in range(len(said) - n + 1) if said[i : i + n] == tokens]
    return {
        "contains": bool(places),
        "starts with": 0 in places,
        "ends with": len(said) - n in places,
        "is exactly": said == tokens,
    }[verb]


def test_phrases_are_exactly_the_frequent_runs_of_tokens() -> None:
    least = 8
    columns = phrase_columns(read_corpus(TEXTS), least, longest=3)
    shows = columns.shows.toarray() > 0
    for column, has in zip(columns.columns, shows.T, strict=True):
        assert [_has(t, column.statement) for t in TEXTS] == has.tolist()
    found = {c.statement for c in columns.columns}
    for one in WORDS:
        for two in WORDS:
            n = sum(_has(t, f"contains “{one} {two}”") for t in TEXTS)
            tight = two in ".,?"
            said = f"contains “{one}{two}”" if tight else f"contains “{one} {two}”"
            assert (said in found) == (n >= least)


def test_highlights_mark_what_a_column_shows() -> None:
    texts = ["Well, I am Sorry.", "sorry! what now?", "I can't say", "so what\n- one\n- two"] * 4
    corpus = read_corpus(texts)
    for columns in (phrase_columns(corpus, 4), feature_columns(texts, [""] * 16, corpus)):
        for column, has in zip(columns.columns, columns.shows.toarray().T > 0, strict=True):
            if column.pattern and "at least" not in column.statement:
                marked = [bool(re.search(column.pattern, t)) for t in texts]
                assert marked == has.tolist(), column


@pytest.mark.parametrize(
    ("text", "behaviour"),
    [
        ("I'm sorry, I can't help with that.", "refuses"),
        ("I am SORRY about it", "apologises"),
        ("Perhaps it rains.", "hedges"),
        ("Great question! Yes.", "flatters"),
        ("As an AI language model, no.", "speaks as an AI"),
        ("What do you think?", "ends with a question"),
        ("- one\n- two", "has a bullet at least 2 times"),
        ("1. one\n2. two", "has a numbered point at least 2 times"),
        ("```\ncode\n```", "has a code block at least 2 times"),
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
    columns = feature_columns(texts, ["What is it?"] * 2, read_corpus(texts))
    names = [c.statement for c in columns.columns]
    assert columns.shows[:, names.index(behaviour)].toarray().ravel().tolist() == [1, 0]


def test_styles_are_cut_at_quantiles_of_all_responses() -> None:
    texts = [" ".join(["word"] * n) for n in range(1, 101)]
    points = embed(texts)
    columns = style_columns(texts, read_corpus(texts), read_parts(texts), points, points)
    names = [c.statement for c in columns.columns]
    shows = columns.shows.toarray() > 0
    low = next(i for i, name in enumerate(names) if name.startswith("has words ≤"))
    assert shows[:, low].sum() == 1
    assert shows[0, low]


def test_equal_columns_are_one() -> None:
    mask = np.array([True, False, True])
    columns = from_masks([Column("feature", "f", x) for x in "abc"], [mask, ~mask, mask.copy()], 3)
    assert [c.statement for c in without_duplicates(columns).columns] == ["a", "b"]


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
    assert sentences("One. Two!\n\nThree") == ["One.", "Two!", "Three"]
    empty = read_corpus([])
    assert empty.n == 0


def test_both_ends_of_a_response_are_looked_at() -> None:
    texts = ["Great question! It is so.", "It is so. Great question!", "", "No end"] * 4
    columns = end_columns(read_parts(texts))
    names = [c.statement for c in columns.columns]
    first, last = (
        columns.shows[:, names.index(f"flatters in its {end} sentence")].toarray().ravel()[:4]
        for end in ("first", "last")
    )
    assert first.tolist() == [1, 0, 0, 0]
    assert last.tolist() == [0, 1, 0, 0]


def test_parts_keep_their_order_and_their_owner() -> None:
    parts = read_parts(["One. Two.", "", "Two. Three! One."])
    assert [parts.texts[k] for k in parts.which] == ["One.", "Two.", "Two.", "Three!", "One."]
    assert parts.count.tolist() == [2, 0, 3]
    for last, ends in ((False, ["One.", "Two."]), (True, ["Two.", "One."])):
        owner, which = parts.end(last)
        assert owner.tolist() == [0, 2]
        assert [parts.texts[k] for k in which] == ends


def test_words_of_like_meaning_are_one_behaviour() -> None:
    rng = np.random.default_rng(0)
    sea = "ocean waves sailor harbour beach tide ship coast anchor fishing boat shore".split()  # noqa: SIM905
    other = [f"{a}{b}{c}" for a in "bdk" for b in "aeiou" for c in "lmnprst"]
    texts = [f"{rng.choice(other)} {rng.choice(other)}" for _ in range(600)]
    texts[:24] = [f"{text} {sea[k % 12]}" for k, text in enumerate(texts[:24])]
    columns = meaning_columns(read_corpus(texts), seed=0)
    shows = columns.shows.toarray() > 0
    assert max((s[:24].mean() - s[24:].mean()) for s in shows.T) > 0.6


def test_pieces_are_counted_word_by_word() -> None:
    short, long = pieces(["the", "xqzvkjw" * 4])
    assert short == 1
    assert long > 5
    assert pieces(["the"]).tolist() == [1]


def test_stock_wording_is_what_answers_other_prompts_too() -> None:
    texts = ["It is so. Have a nice day.", "No. HAVE A NICE DAY.", "Have a nice day. It is so."]
    names = {c.statement: k for k, c in enumerate(stock_columns([], [], read_parts([])).columns)}

    def shown(what: str, prompts: list[str]) -> list[float]:
        columns = stock_columns(texts, prompts, read_parts(texts))
        one = columns.shows[
            :, names[f"{what} that answers to 3 prompts or more have word for word"]
        ]
        result: list[float] = one.toarray().ravel().tolist()
        return result

    assert shown("says a sentence", ["a", "b", "c"]) == [1, 1, 1]
    # Several answers to one prompt are one prompt.
    assert shown("says a sentence", ["a", "b", "b"]) == [0, 0, 0]
    two = "ends with 3 words that answers to 2 prompts or more have word for word"
    columns = stock_columns(texts, ["a", "b", "c"], read_parts(texts))
    assert columns.shows[:, names[two]].toarray().ravel().tolist() == [1, 1, 0]
