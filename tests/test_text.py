"""Untrusted text made fit to be shown."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custodes.text import one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ünïcode 你好 🙂\n\tand lines", "plain ünïcode 你好 🙂\n\tand lines"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("over\rwrite", r"over\x0dwrite"),
        ("\x9b31m", r"\x9b31m"),
        ("abc\u202edcb", r"abc\u202edcb"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("lone \ud800", r"lone \ud800"),
        ("line\u2028end", r"line\u2028end"),
    ],
)
def test_what_cannot_be_seen_is_spelled_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(alphabet=st.characters(codec=None)))
def test_nothing_unseen_is_left(text: str) -> None:
    left = {unicodedata.category(c) for c in visible(text) if c not in "\n\t"}
    assert not left & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    visible(text).encode()


@given(st.text())
def test_one_line_is_one_line_within_its_limit(text: str) -> None:
    line = one_line(text, 20)
    assert len(line) <= 20
    assert len(line.splitlines()) <= 1
