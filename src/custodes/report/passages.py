"""Text of models as HTML: escaped, with invisible characters spelled out, and cut to a length."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby

from markupsafe import Markup, escape

from custodes.text import visible

__all__ = ["Passage", "compared", "passage"]

SHOWN = 600
"""Characters shown at once."""

KEPT = 3000
"""Characters that can be unfolded; the rest is only in the log."""

LEAST_ALIKE = 0.2
"""Texts less alike than this are not compared word by word: nearly every word would be marked."""

Run = tuple[str, str]
"""A piece of text, and the tag that it goes into ("" for none)."""


@dataclass(frozen=True)
class Passage:
    """An untrusted text as HTML.

    Attributes:
        head: What is shown at once, "" for a text that is blank.
        tail: What can be unfolded, "" for a short text.
        folded: Characters in ``tail``.
        dropped: Characters that the report leaves out.
    """

    head: Markup
    tail: Markup
    folded: int
    dropped: int


def passage(text: str) -> Passage:
    """Show a text as it is."""
    kept, dropped = _cut(text)
    return _fold([(kept, "")], dropped)


def compared(before: str, after: str) -> tuple[Passage, Passage]:
    """Show two texts with the words in which they differ marked (``<del>`` and ``<ins>``)."""
    (old, old_dropped), (new, new_dropped) = _cut(before), _cut(after)
    old_words, new_words = _words(old), _words(new)
    # SequenceMatcher leaves out words that make up more than 1% of 200 words or more. That bounds
    # its time on a text that repeats itself, its worst case being cubic.
    matcher = SequenceMatcher(None, [w for w, _ in old_words], [w for w, _ in new_words])
    if matcher.ratio() < LEAST_ALIKE:
        return _fold([(old, "")], old_dropped), _fold([(new, "")], new_dropped)
    removed, added = set[int](), set[int]()
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag != "equal":
            removed.update(range(i, j))
            added.update(range(k, m))
    return (
        _fold(_runs(old_words, removed, "del"), old_dropped),
        _fold(_runs(new_words, added, "ins"), new_dropped),
    )


def _cut(text: str) -> tuple[str, int]:
    """Spell out what cannot be seen, then keep as much as a report has room for."""
    shown = visible(text)
    return shown[:KEPT], max(0, len(shown) - KEPT)


def _words(text: str) -> list[tuple[str, str]]:
    """Split into words, each with the space after it; space at the start follows an empty word."""
    return re.findall(r"(\S+|^)(\s*)", text)


def _runs(words: Sequence[tuple[str, str]], marked: set[int], tag: str) -> list[Run]:
    """Join words into runs; the space between two marked words is marked with them."""

    def pieces() -> Iterator[Run]:
        for i, (word, space) in enumerate(words):
            yield word, tag if i in marked else ""
            yield space, tag if {i, i + 1} <= marked else ""

    return [
        ("".join(text for text, _ in group), shared)
        for shared, group in groupby(pieces(), key=lambda piece: piece[1])
    ]


def _fold(runs: Sequence[Run], dropped: int) -> Passage:
    """Write runs as HTML in two parts, the first of them SHOWN characters long."""
    head, tail = Markup(), Markup()
    room, folded = SHOWN, 0
    if not any(text.strip() for text, _ in runs):
        return Passage(head, tail, folded, dropped)
    for text, tag in runs:
        first, rest = text[:room], text[room:]
        room -= len(first)
        folded += len(rest)
        head += _tagged(first, tag)
        tail += _tagged(rest, tag)
    return Passage(head, tail, folded, dropped)


def _tagged(text: str, tag: str) -> Markup:
    return Markup(f"<{tag}>{{}}</{tag}>").format(text) if text and tag else escape(text)
