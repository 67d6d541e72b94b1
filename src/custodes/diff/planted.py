"""The planted-difference benchmark: is what was planted found, and nothing else?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from custodes.diff.edits import Edit
from custodes.diff.embedding import embed
from custodes.diff.responses import Responses
from custodes.models.base import Array

__all__ = ["Case", "Claim", "Pool", "Score", "plant", "score"]

MATCH = 0.5
CONDITION_SHARE = 0.2


@dataclass(frozen=True)
class Pool:
    """Real responses to draw cases from.

    Attributes:
        ids: Prompt ids.
        prompts: Prompts.
        samples: At least two independent responses to each prompt, by sample.
        points: Embeddings of the prompts, shape (prompts, d).
    """

    ids: tuple[str, ...]
    prompts: tuple[str, ...]
    samples: tuple[tuple[str, ...], ...]
    points: Array

    @staticmethod
    def of(sets: Sequence[Responses]) -> Pool:
        """Make a pool of several sets over the same prompts (the first response of each)."""
        first = sets[0]
        by_id = [dict(zip(s.ids, s.texts, strict=True)) for s in sets]
        ids = [i for i in first.ids if all(i in texts for texts in by_id)]
        prompt = dict(zip(first.ids, first.prompts, strict=True))
        prompts = tuple(prompt[i] for i in ids)
        samples = tuple(tuple(texts[i][0] for i in ids) for texts in by_id)
        return Pool(tuple(ids), prompts, samples, embed(prompts))


@dataclass(frozen=True)
class Claim:
    """What a method reports: the prompts whose response is said to show a change.

    Attributes:
        what: In words.
        evidence: Prompt ids of the side that shows it more.
        moved: Prompts that show it in B and not in A, less those the other way round, as a
            mapping from id to +1 or -1 (or a fraction).
    """

    what: str
    evidence: frozenset[str]
    moved: Mapping[str, float]


@dataclass(frozen=True)
class Case:
    """A comparison whose truth is known.

    Attributes:
        a: A's responses.
        b: B's responses, edited.
        planted: Prompt ids of each edit.
    """

    a: Responses
    b: Responses
    planted: dict[str, frozenset[str]]


@dataclass(frozen=True)
class Score:
    """What became of one case.

    Attributes:
        recovered: Whether each edit was.
        claims: How many claims there were.
        unmatched: Claims that match no edit's prompts with precision and recall of a half.
        false: Claims less than half of whose net change lies in planted prompts: an edit's
            side effects (longer answers) are unmatched but not false.
    """

    recovered: dict[str, bool]
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
) -> Case:
    """Draw ``n`` prompts, two different samples of each, and edit a part of B's.

    Args:
        pool: Where responses come from.
        edits: What to plant, independently of each other.
        n: Prompts.
        rate: Share of the prompts that each edit changes, in [0, 1]; of the condition's
            prompts, where ``conditional``.
        conditional: Whether each edit is only planted in a fifth of the prompts that have
            something in common (topic, a word, length).
        rng: Source of everything random.
    """
    chosen = rng.choice(len(pool.ids), n, replace=False)
    order = rng.permuted(np.tile(np.arange(len(pool.samples)), (n, 1)), axis=1)[:, :2]
    a = [pool.samples[s][i] for i, s in zip(chosen, order[:, 0], strict=True)]
    b = [pool.samples[s][i] for i, s in zip(chosen, order[:, 1], strict=True)]
    prompts = [pool.prompts[i] for i in chosen]
    planted = {}
    for name, edit in edits.items():
        where = _condition(pool.points[chosen], prompts, rng) if conditional else np.arange(n)
        # An edit is only planted where it changes something.
        changed: set[str] = set()
        for i in rng.permutation(where):
            if len(changed) == round(rate * len(where)):
                break
            edited = edit(b[i], prompts[i], rng)
            if edited != b[i]:
                b[i] = edited
                changed.add(pool.ids[chosen[i]])
        planted[name] = frozenset(changed)
    ids = tuple(pool.ids[i] for i in chosen)
    side_a = Responses("A", ids, tuple(prompts), tuple((t,) for t in a))
    return Case(side_a, replace(side_a, name="B", texts=tuple((t,) for t in b)), planted)


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
    matches = [
        {name for name, ids in case.planted.items() if _matches(claim.evidence, ids)}
        for claim in claims
    ]
    touched = frozenset().union(*case.planted.values())
    false = 0
    for claim in claims:
        net = sum(claim.moved.values())
        inside = sum(v for i, v in claim.moved.items() if i in touched)
        false += not (net != 0 and inside / net >= MATCH)
    return Score(
        {name: any(name in m for m in matches) for name in case.planted},
        len(claims),
        sum(not m for m in matches),
        false,
    )


def _matches(evidence: frozenset[str], planted: frozenset[str]) -> bool:
    both = len(evidence & planted)
    return bool(both) and both >= MATCH * len(evidence) and both >= MATCH * len(planted)
