"""Taking a User's message out of what a language model wrote."""

from __future__ import annotations

import re

__all__ = ["alike", "clean", "same_words"]

SHORTEST, LONGEST = 8, 320  # characters
MOST_ALIKE = 0.8

_LABEL = re.compile(
    r"^(?:[-*•]|\d+[.)]|(?:user|person|human|message|question|q|me)\s*\d*\s*:)\s*", re.I
)
_QUOTES = {'"': '"', "“": "”", "'": "'", "‘": "’", "`": "`", "«": "»"}
_ASSISTANT = re.compile(
    r"^(?:sure|certainly|of course|absolutely|great question|here(?:'s| is| are)|"
    r"i(?:'m| am) (?:sorry|here to help|glad to help|happy to)|i (?:can(?:'t|not)|won't) (?:help|"
    r"assist)|you(?:'re| are) welcome|how (?:can|may) i (?:help|assist)|hello! how|as an ai)\b"
    r"|\bas an ai\b|\b(?:language model|ai assistant named)\b",
    re.I,
)
_REPEATED = re.compile(r"\b(\w+(?:\W+\w+){0,5})(?:\W+\1\b){2,}", re.I)


def clean(raw: str) -> tuple[str, str]:
    """Take a message out of what a model wrote.

    Returns:
        The message and "", or "" and why there is none.

    >>> clean('1. "Where do I vote?"\\n2. "Why?"')
    ('Where do I vote?', '')
    >>> clean("Sure, here is a message:")
    ('', "assistant's voice")
    """
    line = next((line.strip() for line in raw.splitlines() if line.strip()), "")
    line = _LABEL.sub("", line.replace("**", "")).strip()
    if len(line) > 1 and _QUOTES.get(line[0]) == line[-1]:
        line = line[1:-1].strip()
    letters = sum(character.isalpha() or character.isspace() for character in line)
    checks = (
        ("empty", not line),
        ("too short", len(line) < SHORTEST or len(line.split()) < 3),
        ("too long", len(line) > LONGEST),
        ("assistant's voice", bool(_ASSISTANT.search(line.replace("’", "'")))),
        ("unfinished", line.endswith((":", ","))),
        ("repetitive", bool(_REPEATED.search(line))),
        ("not language", letters < 0.75 * len(line) or not line.isprintable()),
    )
    reason = next((reason for reason, applies in checks if applies), "")
    return ("" if reason else line), reason


def same_words(text: str) -> str:
    """Reduce a text to its words, so that case, spaces and punctuation make no difference.

    >>> same_words("And  HOW, then?")
    'and how then'
    """
    return " ".join(re.findall(r"\w+", text.casefold()))


def alike(text: str, other: str) -> bool:
    """Whether two texts share most of their words (Jaccard index of 0.8 or more)."""
    ours, theirs = set(same_words(text).split()), set(same_words(other).split())
    return len(ours & theirs) >= MOST_ALIKE * max(1, len(ours | theirs))
