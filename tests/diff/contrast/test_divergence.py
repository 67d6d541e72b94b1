"""The rows of contrast.json that need no model."""

from __future__ import annotations

import numpy as np

from custodes.conversation import Query, user_chat
from custodes.diff.contrast.decoding import Contrast
from custodes.diff.contrast.divergence import _text_rows, largest_gaps, sample_queries

QUERIES = tuple(Query(f"q{i}", tuple(user_chat(f"question {i}?"))) for i in range(30))


def test_queries_are_drawn_by_seed_and_purpose_and_keep_their_order() -> None:
    one = sample_queries(QUERIES, 10, 0, "texts")
    assert one == sample_queries(QUERIES, 10, 0, "texts")
    assert one != sample_queries(QUERIES, 10, 0, "tokens")
    assert one != sample_queries(QUERIES, 10, 1, "texts")
    places = [QUERIES.index(query) for query in one]
    assert places == sorted(set(places))
    assert sample_queries(QUERIES, 99, 0, "texts") == QUERIES


def test_the_largest_gaps_come_first_whatever_their_sign() -> None:
    rows = [{"gap": gap} for gap in (0.5, -3.0, 1.0, -0.1)]
    assert [row["gap"] for row in largest_gaps(rows, 3)] == [-3.0, 1.0, 0.5]


def test_a_text_row_has_a_gap_for_every_token() -> None:
    contrast = Contrast(text="a b", ids=(1, 2), tokens=("a", " b"), gaps=np.array([1.2345, -0.5]))
    (row,) = _text_rows(QUERIES[:1], [contrast])
    assert row["prompt"] == "question 0?"
    assert row["gaps"] == [1.234, -0.5]
    assert len(row["tokens"]) == len(row["gaps"])
