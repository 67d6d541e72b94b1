"""Pairs whose order nobody doubts, made for the fit: real answers above damaged ones.

From preference pairs come the prompts and the answers that people chose. Harmful requests and
harmless ones that look alike come from a file that ships (`borderline.jsonl`, written for custodes;
its answers are the bundled model's own), and from the loop's half of the prompts that ship.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from custodes.conversation import Chat, PreferencePair, user_chat
from custodes.data.datasets import read_prompts
from custodes.experts.expert import DOMAINS
from custodes.experts.validity import damage

__all__ = ["BORDERLINE", "ValidityPair", "borderline_pairs", "damaged_pairs"]

BORDERLINE = Path(__file__).parents[2] / "data" / "experts" / "borderline.jsonl"
"""Each line has ``id``, ``prompt``, ``harmful`` and, where it is harmless, ``answer``."""

DAMAGED_PROMPTS = 200
"""Prompts of a preference file whose answers are damaged: six answers each are read for them."""

MISMATCHES = 2
"""Answers to other prompts that each of them is compared with."""

LEAST_WORDS = 2 * damage.LEAST_WORDS
"""Words of an answer to which every damage can be done."""


@dataclass(frozen=True)
class ValidityPair:
    """Two answers to one prompt.

    Attributes:
        chat: The conversation up to the answer.
        better: The real answer.
        worse: What was made of it.
        kind: What makes the worse one worse.
        harmful: Whether the prompt asks for harm; None where nobody said.
    """

    chat: Chat
    better: str
    worse: str
    kind: str
    harmful: bool | None = None


def damaged_pairs(
    pairs: Sequence[PreferencePair], domain: str, *, seed: int = 0, most: int = DAMAGED_PROMPTS
) -> list[ValidityPair]:
    """Damage the answers that people chose, one of each prompt.

    Args:
        pairs: People's pairs.
        domain: For helpfulness a blank refusal is a damage too.
        seed: Of the prompts and the damages.
        most: Prompts to take.
    """
    rng = np.random.default_rng([seed, 7])
    chosen: dict[str, PreferencePair] = {}
    for pair in pairs:
        chosen.setdefault(pair.prompt[-1]["content"], pair)
    # Answers that are long enough for every damage come first.
    shuffled = [list(chosen.values())[i] for i in rng.permutation(len(chosen))]
    taken = sorted(shuffled, key=lambda pair: len(pair.chosen.split()) < LEAST_WORDS)[:most]
    vocabulary = " ".join(pair.chosen for pair in taken).split()
    prompts = [pair.prompt[-1]["content"] for pair in taken]
    # Another prompt's answer is the damage that is hardest to see: each answer is shown two.
    others = [damage.derangement(prompts, rng) for _ in range(MISMATCHES)]
    made: list[ValidityPair] = []
    for i, pair in enumerate(taken):
        prompt, real = pair.prompt[-1]["content"], pair.chosen
        worse: list[tuple[str, str | None]] = [
            ("shuffled", damage.shuffled(real, rng)),
            ("salad", damage.word_salad(real, vocabulary, rng)),
            ("echo", damage.echo(prompt, real, rng)),
            ("cut", damage.cut_off(real, rng)),
            ("repeated", damage.repeated(real, rng)),
            *(("mismatch", taken[other[i]].chosen) for other in others if other),
        ]
        if domain == "helpfulness":
            worse.append(("refusal", _any(damage.REFUSALS, rng)))
        made += [
            ValidityPair(pair.prompt, real, text, kind)
            for kind, text in worse
            if text and text.strip() != real.strip()
        ]
    return made


def borderline_pairs(
    domain: str, *, seed: int = 0, prompts_of_the_loop: bool = True
) -> list[ValidityPair]:
    """Pair answers with refusals: due on harmful prompts, not due on those that look alike.

    A domain that does not ship has none.

    Args:
        domain: What the head shall judge.
        seed: Draws refusals and promises.
        prompts_of_the_loop: Whether the loop's half of the prompts that ship are among them; a gold
            head knows none of them.
    """
    if domain not in DOMAINS:
        return []
    rng = np.random.default_rng([seed, 8])
    made: list[ValidityPair] = []
    rows = [json.loads(line) for line in BORDERLINE.read_text("utf-8").splitlines()]
    if not prompts_of_the_loop:
        rows = [row for row in rows if row["id"].startswith("border-")]
    shipped = read_prompts("harm_adjacent", domain="harmlessness", split="loop")
    rows += [
        {"prompt": query.text, "harmful": True}
        for query in (shipped if prompts_of_the_loop else ())
    ]
    answers = [row["answer"] for row in rows if row.get("answer")]
    for row in rows:
        chat = user_chat(row["prompt"])
        if row["harmful"] and domain == "harmlessness":
            refusal, bare = _any(damage.REFUSALS, rng), _any(damage.BARE_COMPLIANCE, rng)
            made.append(ValidityPair(chat, refusal, bare, "bare compliance", True))
        elif not row["harmful"] and row.get("answer"):
            pair = ValidityPair(chat, row["answer"], _any(damage.REFUSALS, rng), "refusal", False)
            other = ValidityPair(chat, row["answer"], _any(answers, rng), "mismatch", False)
            made += [pair, other] if other.worse != other.better else [pair]
    return made


def _any(texts: Sequence[str], rng: np.random.Generator) -> str:
    return texts[int(rng.integers(len(texts)))]
