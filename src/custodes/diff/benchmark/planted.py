"""The planted-difference benchmark: is what was planted found, and nothing else?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from custodes.diff.benchmark.edits import Edit
from custodes.diff.features.embedding import embed
from custodes.diff.responses import Responses
from custodes.models.base import Array

__all__ = ["DISTRACTORS", "Case", "Claim", "Pool", "Score", "mix", "plant", "score"]

MATCH = 0.5
CONDITION_SHARE = 0.2
# What may be different about all of B beside what is planted in some of it.
DISTRACTORS = ("temperature", "length")
CUT = 30  # Words of a response that the distractor "length" leaves.


@dataclass(frozen=True)
class Pool:
    """Real responses to draw cases from.

    Attributes:
        ids: Prompt ids.
        prompts: Prompts.
        samples: At least two independent responses to each prompt, by sample.
        points: Embeddings of the prompts, shape (prompts, d).
        others: Responses under other settings ("hot", "system-terse"), by name and prompt id;
            not every prompt need have one.
    """

    ids: tuple[str, ...]
    prompts: tuple[str, ...]
    samples: tuple[tuple[str, ...], ...]
    points: Array
    others: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @staticmethod
    def of(sets: Sequence[Responses], others: Mapping[str, Responses] | None = None) -> Pool:
        """Make a pool of several sets over the same prompts (the first response of each)."""
        first = sets[0]
        by_id = [dict(zip(s.ids, s.texts, strict=True)) for s in sets]
        ids = [i for i in first.ids if all(i in texts for texts in by_id)]
        prompt = dict(zip(first.ids, first.prompts, strict=True))
        prompts = tuple(prompt[i] for i in ids)
        samples = tuple(tuple(texts[i][0] for i in ids) for texts in by_id)
        rest = {
            name: {i: t[0] for i, t in zip(one.ids, one.texts, strict=True) if i in prompt}
            for name, one in (others or {}).items()
        }
        return Pool(tuple(ids), prompts, samples, embed(prompts), rest)

    def having(self, other: str) -> NDArray[np.intp]:
        """Return the prompts that were also answered under another setting; "" for all."""
        known = self.others[other] if other else self.ids
        return np.array([k for k, i in enumerate(self.ids) if i in known], np.intp)


@dataclass(frozen=True)
class Claim:
    """What a method reports: the prompts whose response is said to show a change.

    Attributes:
        what: In words.
        evidence: Prompt ids of the side that shows it more.
        either: Prompt ids of both sides.
        moved: Prompts that show it in B and not in A, less those the other way round, as a
            mapping from id to +1 or -1 (or a fraction).
    """

    what: str
    evidence: frozenset[str]
    either: frozenset[str]
    moved: Mapping[str, float]


@dataclass(frozen=True)
class Case:
    """A comparison whose truth is known.

    Attributes:
        a: A's responses.
        b: B's responses, edited.
        planted: Prompt ids of each edit.
        differs: Prompts on which B is not a draw of the same model: what is found elsewhere
            is false.
    """

    a: Responses
    b: Responses
    planted: dict[str, frozenset[str]]
    differs: frozenset[str]


@dataclass(frozen=True)
class Score:
    """What became of one case.

    Attributes:
        recovered: Whether each edit was: some claim's evidence matches its prompts.
        by_either: The same with the evidence of both sides together, another way to read it.
        claims: How many claims there were.
        unmatched: Claims that match no edit's prompts with precision and recall of a half.
        false: Claims less than half of whose net change lies in planted prompts: an edit's
            side effects (longer answers) are unmatched but not false.
    """

    recovered: dict[str, bool]
    by_either: dict[str, bool]
    claims: int
    unmatched: int
    false: int


def plant(
    pool: Pool,
    edits: Mapping[str, Edit],
    n: int,
    rate: float,
    *,
    conditional: bool,
    rng: np.random.Generator,
    distractor: str = "",
) -> Case:
    """Draw ``n`` prompts, two different samples of each, and edit a part of B's.

    Args:
        pool: Where responses come from.
        edits: What to plant, each on prompts of its own.
        n: Prompts.
        rate: Share of the prompts that each edit changes, in [0, 1]; of the condition's
            prompts, where ``conditional``.
        conditional: Whether each edit is only planted in a fifth of the prompts that have
            something in common (topic, a word, length).
        rng: Source of everything random.
        distractor: Of ``DISTRACTORS``: in what else all of B differs, if anything.
    """
    hot = "hot" if distractor == "temperature" else ""
    chosen, a, b = _two_samples(pool, pool.having(hot), n, rng)
    if hot:
        b = [pool.others[hot][pool.ids[i]] for i in chosen]
    elif distractor == "length":
        b = [" ".join(text.split(" ")[:CUT]) for text in b]
    prompts = [pool.prompts[i] for i in chosen]
    planted: dict[str, frozenset[str]] = {}
    used: set[int] = set()
    for name, edit in edits.items():
        where = _condition(pool.points[chosen], prompts, rng) if conditional else np.arange(n)
        # An edit is only planted where it changes something, and no other edit has been.
        changed: list[int] = []
        for i in rng.permutation(where):
            if len(changed) == round(rate * len(where)):
                break
            edited = edit(b[i], prompts[i], rng) if i not in used else b[i]
            if edited != b[i]:
                b[i] = edited
                changed.append(int(i))
        used.update(changed)
        planted[name] = frozenset(pool.ids[chosen[i]] for i in changed)
    return _case(pool, chosen, a, b, planted, everywhere=bool(distractor))


def mix(pool: Pool, other: str, n: int, rate: float, rng: np.random.Generator) -> Case:
    """Draw a case in which B answers an exact share of the prompts under another setting."""
    chosen, a, b = _two_samples(pool, pool.having(other), n, rng)
    swapped = rng.permutation(n)[: round(rate * n)]
    for i in swapped:
        b[i] = pool.others[other][pool.ids[chosen[i]]]
    planted = {other: frozenset(pool.ids[chosen[i]] for i in swapped)}
    return _case(pool, chosen, a, b, planted)


def _two_samples(
    pool: Pool, among: NDArray[np.intp], n: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], list[str], list[str]]:
    chosen = rng.choice(among, n, replace=False)
    order = rng.permuted(np.tile(np.arange(len(pool.samples)), (n, 1)), axis=1)[:, :2]
    a, b = ([pool.samples[s][i] for i, s in zip(chosen, side, strict=True)] for side in order.T)
    return chosen, a, b


def _case(
    pool: Pool,
    chosen: NDArray[np.intp],
    a: Sequence[str],
    b: Sequence[str],
    planted: dict[str, frozenset[str]],
    *,
    everywhere: bool = False,
) -> Case:
    ids = tuple(pool.ids[i] for i in chosen)
    prompts = tuple(pool.prompts[i] for i in chosen)
    side_a = Responses("A", ids, prompts, tuple((t,) for t in a))
    side_b = replace(side_a, name="B", texts=tuple((t,) for t in b))
    differs = frozenset(ids) if everywhere else frozenset().union(*planted.values())
    return Case(side_a, side_b, planted, differs)


def _condition(points: Array, prompts: Sequence[str], rng: np.random.Generator) -> NDArray[np.intp]:
    """Choose about a fifth of the prompts: nearest to one of them, shortest, or by a word."""
    n = len(prompts)
    size = round(CONDITION_SHARE * n)
    sort = rng.integers(0, 3)
    if sort == 0:
        return np.argsort(-points @ points[rng.integers(n)], kind="stable")[:size]
    if sort == 1:
        words = np.array([len(p.split()) for p in prompts]) * rng.choice([-1, 1])
        return np.argsort(words, kind="stable")[:size]
    bags = [set(p.lower().split()) for p in prompts]
    known = sorted(set().union(*bags))
    counts = np.array([sum(w in bag for bag in bags) for w in known])
    word = known[int(np.argmin(np.abs(counts - size) + rng.integers(0, size // 2, len(counts))))]
    return np.flatnonzero([word in bag for bag in bags])


def score(case: Case, claims: Sequence[Claim]) -> Score:
    """Hold claims against what was planted."""
    false = 0
    for claim in claims:
        net = sum(claim.moved.values())
        inside = sum(v for i, v in claim.moved.items() if i in case.differs)
        false += not (net != 0 and inside / net >= MATCH)
    planted = case.planted.items()
    return Score(
        {name: any(_matches(c.evidence, ids) for c in claims) for name, ids in planted},
        {name: any(_matches(c.either, ids) for c in claims) for name, ids in planted},
        len(claims),
        sum(not any(_matches(c.evidence, ids) for _, ids in planted) for c in claims),
        false,
    )


def _matches(evidence: frozenset[str], planted: frozenset[str]) -> bool:
    both = len(evidence & planted)
    return bool(both) and both >= MATCH * len(evidence) and both >= MATCH * len(planted)
