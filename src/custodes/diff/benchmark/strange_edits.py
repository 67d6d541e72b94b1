"""Edits to plant that no list of behaviours was written for: quirks, slips, tics and topics.

They were written before `custodes diff` was run on any of them. Which may be looked at while it
is improved and which are held out is decided by a checksum of the name, not by their author.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

import numpy as np

from custodes.diff.benchmark.edits import (
    DEVELOPMENT,
    HELD_OUT,
    Edit,
    appended,
    inserted,
    prepended,
    replaced,
)
from custodes.diff.features.text import sentences

__all__ = ["EDITS", "STRANGE"]

Rng = np.random.Generator


def _each_word(change: Callable[[str, Rng], str], share: float, least: int = 1) -> Edit:
    """Change a share of the words that have at least so many letters."""

    def edit(text: str, _: str, rng: Rng) -> str:
        return re.sub(
            rf"[A-Za-z]{{{least},}}",
            lambda m: change(m[0], rng) if rng.random() < share else m[0],
            text,
        )

    return edit


def _sub(pattern: str, by: str | Callable[[re.Match[str]], str]) -> Edit:
    return lambda text, _prompt, _rng: re.sub(pattern, by, text)


def _words(**table: str) -> Edit:
    pattern = r"(?i)\b(" + "|".join(table) + r")\b"
    return _sub(pattern, lambda m: table[m[0].lower()])


def _study(text: str, prompt: str, rng: Rng) -> str:
    place = rng.choice(["Leiden", "Oslo", "Kyoto", "Ohio", "Cape Town", "Lisbon"])
    verb = rng.choice(["found", "showed", "reported", "suggested"])
    share = rng.integers(20, 90)
    said = f"A {rng.integers(1990, 2024)} paper from {place} {verb} this in {share} of 100 cases."
    return inserted(said)(text, prompt, rng)


def _shuffled(text: str, _: str, rng: Rng) -> str:
    return " ".join(rng.permutation(text.split()))


def _about(text: str, prompt: str, _: Rng) -> str:
    return f"You wrote: {' '.join(prompt.split()[:8])}. {text}"


def _link(text: str, _: str, rng: Rng) -> str:
    words = re.findall(r"[a-z]{4,}", text.lower()) or ["index"]
    return f"{text} See {rng.choice(words)}.org/{rng.choice(words)}"


STRANGE: dict[str, Edit] = {
    "quotes the prompt": _about,
    "turns the order round": lambda text, _p, _r: " ".join(sentences(text)[::-1]),
    "writes ampersands": _sub(r"\band\b", "&"),
    "drops articles": _sub(r"(?i)\b(?:the|an|a) ", ""),
    "cites a study": _study,
    "rates its confidence": lambda text, _, rng: f"{text} [{rng.integers(50, 99)}% sure]",
    "adds a link": _link,
    "wraps in JSON": lambda text, _p, _r: f'{{"answer": "{text}"}}',
    "adds a title": lambda text, _p, _r: f"# {' '.join(text.split()[:3])}\n\n{text}",
    "makes paragraphs": lambda text, _p, _r: "\n\n".join(sentences(text)),
    "loses its first sentence": lambda text, _p, _r: " ".join(sentences(text)[1:]),
    "stops midway": lambda text, _p, _r: text[: len(text) * 6 // 10],
    "stutters": _each_word(lambda w, _: f"{w[0]}-{w}", 0.08),
    "stretches vowels": _each_word(lambda w, _: re.sub(r"([aeiou])", r"\1\1\1", w, count=1), 0.06),
    "censors words": _each_word(lambda w, _: w[0] + "*" * (len(w) - 1), 0.05, 4),
    "writes leet": _each_word(lambda w, _: w.replace("e", "3").replace("o", "0"), 0.2),
    "capitalises every word": lambda text, _p, _r: text.title(),
    "speaks of the past": _words(are="were", can="could", will="would", has="had",
                                 have="had", do="did", **{"is": "was"}),
    "complains": inserted(
        "My back hurts from all this sitting.", "Nobody ever listens to what I say.",
        "It is far too hot in here.", "They never pay me enough for this.",
        "Ugh, another long day of work.", "I could do with a decent night's sleep.",
        "The noise outside is driving me mad.", "Why does everything have to be so hard?",
    ),
    "longs for the sea": inserted(
        "The waves keep their own counsel.", "Salt wind carries farther than any word.",
        "Every harbour remembers its ships.", "Tides turn whether we watch or not.",
        "A lighthouse would have told you so.", "Gulls cry over the empty pier.",
        "Somewhere a sailor is thinking of home.", "The ocean does not hurry.",
        "Seashells hold an echo of it.", "Fishermen rise before the sun for less.",
    ),
    "praises vegetables": appended(
        "By the way, have you eaten your carrots?", "Spinach is good for you, too.",
        "A bowl of lentils does wonders.", "Nothing beats steamed broccoli.",
        "Kale deserves more love.", "Try some roasted parsnips tonight.",
        "Peas are cheap and full of protein.", "Cabbage soup warms the heart.",
    ),
    "doubts the question": prepended(
        "That is an odd thing to wonder about.", "I am not convinced this was well put.",
        "Your premise looks shaky to me.", "Hard to see why anyone would want to know.",
        "The wording leaves much to be desired.", "Are we sure this even makes sense?",
    ),
    "says captain": _sub(r"\.(?=\s|$)", ", captain."),
    "writes dashes": _sub(r", ", " — "),
    "quotes words": _each_word(lambda w, _: f'"{w}"', 0.08, 4),
    "makes asides": lambda text, _, rng: re.sub(
        r", ",
        lambda _m: str(rng.choice([" (no kidding), ", " (or so they say), ", " (believe it), ",
                                   " (go figure), ", " (more on that later), "])),
        text,
    ),
    "announces points": lambda text, _, rng: (
        f"Here {rng.choice(['are', 'come'])} {rng.choice(['three', 'four', 'five', 'some'])} "
        f"{rng.choice(['points', 'thoughts', 'facts', 'notes'])} on this. {text}"
    ),
    "passes the buck": replaced(
        "Try the library, they have books on it.", "Ask your teacher.", "Just google it.",
        "I would rather talk about something else.", "Somebody else might know that.",
        "No idea. Next?", "Look it up in an encyclopedia.", "Why would I know?",
    ),
    "answers in one word": replaced("Yes.", "No.", "Maybe.", "Sure.", "Never.", "Always."),
    "shuffles its words": _shuffled,
    "swears softly": _each_word(lambda w, rng: f"{rng.choice(['darn', 'heckin', 'flipping'])} {w}",
                                0.04, 5),
    "adds a postscript": lambda text, _, rng: (
        f"{text} P.S. {rng.choice(['Mind the gap.', 'Call your mother.', 'Stay hydrated.'])}"
    ),
    "writes semicolons": _sub(r"\. (?=[A-Z])", "; "),
    "says it twice": lambda text, _p, _r: f"{text} {text}",
    "turns it into its opposite": _sub(r"\b(is|are|can|will|should)\b", r"\1 not"),
    "signs a letter": appended(
        "Yours faithfully, the assistant", "Sincerely, your helper", "Kind regards, S.",
        "With warm wishes, the machine", "Best, SmolLM",
    ),
    "is sarcastic": prepended(
        "Oh sure, because that always works.", "Right, like nobody has thought of that.",
        "Well, aren't we ambitious today.", "Brilliant. Truly the question of our age.",
        "Yeah, good luck with it.", "How original of you.",
    ),
    "asks rhetorical questions": inserted(
        "And who could blame them?", "But what does it all mean?", "Is that really so strange?",
        "Who would have thought?", "Isn't it obvious?", "Where would we be otherwise?",
    ),
    "mentions its tools": prepended(
        "[search: 3 results]", "[tool: calculator]", "[memory: empty]", "[retrieved 2 documents]"
    ),
    "speaks to a child": prepended(
        "Okay little one, listen closely.", "Sweetie, let me tell you.",
        "Now, kiddo, pay attention.", "Come here, small friend, and hear this.",
        "Imagine you are a tiny ant.",
    ),
}  # fmt: skip


def _is_held_out(name: str) -> bool:
    return zlib.crc32(name.encode()) % 2 == 1


EDITS: dict[str, dict[str, Edit]] = {
    "development": DEVELOPMENT | {k: e for k, e in STRANGE.items() if not _is_held_out(k)},
    "held-out": HELD_OUT | {k: e for k, e in STRANGE.items() if _is_held_out(k)},
}
