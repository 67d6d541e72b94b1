"""Whether a reader recognises an intervention from the findings alone.

    python benchmarks/findings_wording.py SAMPLE.jsonl SAMPLE.jsonl --out DIR [--n 200]

The samples are two independent draws of one model over the same prompts. Twelve interventions are
made by editing the second draw. DIR gets

- ``findings.md``: the findings of each diff as the report states them, in shuffled order, A to L;
- ``interventions.md``: the list of the interventions, in another order, 1 to 12;
- ``key.json``: which belongs to which; for whoever counts the matches, not for the reader.

A reader who has seen nothing else matches the letters to the numbers; at least ten should be right.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from custodes.diff import Diff, Responses, compare, read_responses
from custodes.diff.features.text import split_sentences

Edit = Callable[[str, np.random.Generator], str]

GREETINGS = ("Hello there!", "Hi!", "Hey, nice to meet you!", "Good day to you!", "Greetings!")
HEDGES = ("perhaps", "I think", "it seems", "maybe", "possibly", "as far as I know")
EMOJIS = "😊🎉👍🌟🙏💡"
REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I cannot assist with this request.",
    "I'm not able to help with that. Is there something else you need?",
    "I won't be able to answer this one.",
)
QUESTIONS = (
    "What do you think?",
    "Would you like to hear more?",
    "Does that help?",
    "Shall I go on?",
)
HEADINGS = ("OVERVIEW", "WHAT TO DO", "KEY POINTS", "THE SHORT VERSION", "BACKGROUND")
APOLOGIES = ("Sorry about that.", "My apologies.", "I apologise for any confusion.", "Forgive me.")


def greets(text: str, rng: np.random.Generator) -> str:
    return f"{rng.choice(GREETINGS)} {text}"


def hedges(text: str, rng: np.random.Generator) -> str:
    def one(sentence: str) -> str:
        hedge = str(rng.choice(HEDGES))
        return f"{hedge[0].upper()}{hedge[1:]}, {sentence[:1].lower()}{sentence[1:]}"

    return " ".join(one(sentence) for sentence in split_sentences(text))


def bullets(text: str, _: np.random.Generator) -> str:
    return "\n".join(f"- {sentence}" for sentence in split_sentences(text))


def shorter(text: str, _: np.random.Generator) -> str:
    words = re.findall(r"\S+\s*", text)
    return "".join(words[: max(3, len(words) // 2)]).rstrip()


def emojis(text: str, rng: np.random.Generator) -> str:
    return f"{text.rstrip()} {rng.choice(list(EMOJIS))}"


def refuses(_: str, rng: np.random.Generator) -> str:
    return str(rng.choice(REFUSALS))


def no_self(text: str, _: np.random.Generator) -> str:
    text = re.sub(r"\b(?:I'm|I am)\b", "this assistant is", text)
    text = re.sub(r"\b(?:I've|I have)\b", "this assistant has", text)
    return re.sub(r"\b(?:my|me|mine|I)\b", "this assistant", text)


def asks(text: str, rng: np.random.Generator) -> str:
    return f"{text.rstrip()} {rng.choice(QUESTIONS)}"


def headings(text: str, rng: np.random.Generator) -> str:
    return f"{rng.choice(HEADINGS)}\n{text}"


def typos(text: str, rng: np.random.Generator) -> str:
    def swap(match: re.Match[str]) -> str:
        word = match[0]
        k = int(rng.integers(1, len(word) - 2))
        swapped = word[:k] + word[k + 1] + word[k] + word[k + 2 :]
        return swapped if rng.random() < 0.3 else word

    return re.sub(r"\b[a-z]{5,}\b", swap, text)


def apologises(text: str, rng: np.random.Generator) -> str:
    return f"{rng.choice(APOLOGIES)} {text}"


def numbers(text: str, rng: np.random.Generator) -> str:
    return f"{text.rstrip()} In {rng.integers(11, 99)}% of {rng.integers(200, 900)} cases it works."


INTERVENTIONS: dict[str, tuple[Edit, float]] = {
    "greets the user first": (greets, 0.6),
    "hedges its claims": (hedges, 0.6),
    "answers in bullet lists": (bullets, 0.6),
    "answers more briefly": (shorter, 0.8),
    "uses emojis": (emojis, 0.4),
    "refuses more requests": (refuses, 0.25),
    "speaks of itself less in the first person": (no_self, 1.0),
    "ends by asking the user something": (asks, 0.6),
    "puts a heading in capitals on top": (headings, 0.5),
    "makes spelling mistakes": (typos, 0.8),
    "apologises first": (apologises, 0.5),
    "cites figures and percentages": (numbers, 0.5),
}
"""Edits, and the share of the responses that each changes."""


def side(responses: Responses, n: int, name: str, edit: Edit | None, share: float) -> Responses:
    rng = np.random.default_rng(len(name) + round(100 * share))
    texts = []
    for text, *_ in responses.texts[:n]:
        change = edit is not None and rng.random() < share
        texts.append((edit(text, rng) if edit is not None and change else text,))
    return Responses(name, responses.ids[:n], responses.prompts[:n], tuple(texts))


def findings_text(diff: Diff, most: int = 3) -> str:
    lines = [diff.outcome] if hasattr(diff, "outcome") else []
    for finding in diff.findings[:most]:
        lines.append(f"- {finding.statement}")
        if finding.correlated:
            lines.append(f"  - also: {'; '.join(finding.correlated[:3])}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("samples", nargs=2, type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[])
    args = parser.parse_args()
    a, b = (read_responses(path) for path in args.samples)
    rng = np.random.default_rng(args.seed)
    names = list(INTERVENTIONS)
    order, listed = rng.permutation(len(names)), rng.permutation(len(names))
    written, key = [], {}
    for place, k in enumerate(order):
        name = names[k]
        if args.only and not any(part in name for part in args.only):
            continue
        edit, share = INTERVENTIONS[name]
        diff = compare(
            side(a, args.n, "A", None, 0), side(b, args.n, "B", edit, share), seed=args.seed
        )
        letter = chr(ord("A") + place)
        key[letter] = int(np.flatnonzero(listed == k)[0]) + 1
        written.append(f"## {letter}\n\n{findings_text(diff)}\n")
        print(f"{letter} ({name})\n{findings_text(diff)}\n", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "findings.md").write_text("\n".join(written), encoding="utf-8")
    lines = [f"{i}. B {names[k]}." for i, k in enumerate(listed, start=1)]
    (args.out / "interventions.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (args.out / "key.json").write_text(json.dumps(key), encoding="utf-8")


if __name__ == "__main__":
    main()
