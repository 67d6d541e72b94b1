"""Untrusted text made fit to be shown: what cannot be seen is spelled out."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

__all__ = ["one_line", "visible"]

# Cc: controls, among them ESC, which opens ANSI sequences, and CR, which overwrites a line. Cf:
# bidirectional overrides, zero-width and tag characters. Cs: lone surrogates, which no terminal
# can encode. Zl and Zp: line ends that only some programs see.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str) -> str:
    r"""Spell out every character that a reader of a terminal would not see as itself.

    Line feeds and tabs stay. Everything printable stays, so plain text comes back unchanged; this
    is for reading, not for decoding, and a text that already spells ``\x1b`` looks the same as an
    escaped one. Markup of rich is not touched: print with ``markup=False`` or `rich.text.Text`.

    >>> visible("\x1b[31mred\u202e")
    '\\x1b[31mred\\u202e'
    """
    return "".join(map(_spelled, text))


def one_line(text: str, limit: int = 200) -> str:
    """Make untrusted text fit into a one-line message.

    Args:
        text: Anything, e.g. what a server said went wrong.
        limit: Longest result, in characters (>= 2).
    """
    line = visible(re.sub(r"\s+", " ", text).strip())
    return line if len(line) <= limit else line[: limit - 1] + "…"


@cache
def _spelled(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in _UNSEEN:
        return character
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
