"""Rankings from pairwise comparisons: Bradley–Terry and Elo, and margins for a reward loss.

Two questions, one kind of data. Which of the responses to *one* prompt are better, and by how much
(`response_scores`, `pairs_with_margins`: a reward model learns from them)? And which *system* is
better over all prompts (`rank`, with intervals over prompts)?

Sources: Bradley and Terry, "Rank analysis of incomplete block designs", Biometrika 39, 1952, fitted
by Newman's iteration (JMLR 24, 2023) in evalica.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custodes.constitution.comparisons import Comparison, by_prompt_of, check_connected, names_of
from custodes.statistics import Interval, expanded_tails

__all__ = [
    "RankedPair",
    "Ranking",
    "Standing",
    "pairs_with_margins",
    "rank",
    "response_scores",
]

Floats = NDArray[np.float64]

PRIOR = 0.5
"""Draws added between each two competitors, so that one who always wins has a finite score."""
TOLERANCE, LIMIT = 1e-9, 10_000
BLOCK = 256
"""Responses that are fitted in one call: evalica keeps a square matrix of them."""
ORDERS = 20
"""Random orders over which an Elo rating is averaged: it depends on the order."""


@dataclass(frozen=True)
class Standing:
    """A system's place in a ranking.

    Attributes:
        name: The system.
        strength: Bradley–Terry log-strength. The strengths of a ranking have mean 0; the
            difference of two is the log-odds with which one beats the other.
        low: Lower end of the strength's 95% interval over prompts.
        high: Upper end.
        elo: Elo rating, averaged over random orders of the comparisons.
        elo_low: Lower end of its 95% interval over prompts.
        elo_high: Upper end.
        win_rate: Mean preference over all its comparisons, in [0, 1].
        comparisons: Number of its comparisons.
    """

    name: str
    strength: float
    low: float
    high: float
    elo: float
    elo_low: float
    elo_high: float
    win_rate: float
    comparisons: int


@dataclass(frozen=True)
class Ranking:
    """A ranking of systems.

    Attributes:
        standings: The strongest first.
        differences: Strength of the first minus that of the second, for each two systems, with its
            interval over prompts. Two standings' intervals may overlap where this excludes 0.
        prompts: Number of prompts.
    """

    standings: tuple[Standing, ...]
    differences: Mapping[tuple[str, str], Interval]
    prompts: int

    def __getitem__(self, name: str) -> Standing:
        """Return the standing of a system."""
        return next(standing for standing in self.standings if standing.name == name)


@dataclass(frozen=True)
class RankedPair:
    """Two responses to one prompt, the better first.

    Attributes:
        prompt: Id of the prompt.
        chosen: Id of the better response.
        rejected: Id of the other.
        margin: Difference of their scores, in log-odds, > 0.
    """

    prompt: str
    chosen: str
    rejected: str
    margin: float


# Responses within a prompt


def response_scores(
    comparisons: Sequence[Comparison], *, prior: float = PRIOR
) -> dict[str, dict[str, float]]:
    """Score the responses of each prompt by a Bradley–Terry model of that prompt.

    Args:
        comparisons: Any number for each prompt; those in both orders count as two.
        prior: Draws added between each two responses of a prompt, > 0.

    Returns:
        By prompt and response: the log-strength, mean 0 within a prompt.

    Raises:
        DataError: A comparison cannot be used, or the responses of a prompt fall into groups that
            were never compared with each other.
    """
    by_prompt = by_prompt_of(comparisons)
    scores: dict[str, dict[str, float]] = {}
    for block in _blocks(by_prompt):
        names = [(prompt, name) for prompt in block for name in names_of(by_prompt[prompt])]
        place = {name: k for k, name in enumerate(names)}
        edges: list[tuple[int, int, float]] = []
        for prompt in block:
            group = by_prompt[prompt]
            check_connected(group, f"the responses to prompt {prompt!r}")
            for one in group:
                first, second = place[prompt, one.first], place[prompt, one.second]
                edges += _weighted(first, second, one.preference)
            own = [place[prompt, name] for name in names_of(group)]
            edges += [e for i, j in combinations(own, 2) for e in _weighted(i, j, 0.5, prior)]
        log_S = _bradley_terry(edges, len(names))
        for prompt in block:
            strengths = {n: float(log_S[place[prompt, n]]) for n in names_of(by_prompt[prompt])}
            mean = sum(strengths.values()) / len(strengths)
            scores[prompt] = {name: value - mean for name, value in strengths.items()}
    return scores


def pairs_with_margins(
    scores: Mapping[str, Mapping[str, float]],
    *,
    every: bool = False,
    least: float = 0.0,
    most: float | None = None,
) -> list[RankedPair]:
    """Return pairs for a reward loss with margins, -log σ(r_chosen - r_rejected - margin).

    Args:
        scores: By prompt and response, from `response_scores`.
        every: All pairs of a prompt; otherwise its best and its worst response.
        least: Pairs with a margin of this or less are left out, in log-odds.
        most: Larger margins are clipped to this one.
    """
    pairs = []
    for prompt, by_name in scores.items():
        ordered = sorted(by_name, key=lambda name: (-by_name[name], name))
        if len(ordered) < 2:
            continue
        chosen = list(combinations(ordered, 2)) if every else [(ordered[0], ordered[-1])]
        for better, worse in chosen:
            margin = by_name[better] - by_name[worse]
            if margin > max(least, 1e-9):
                margin = margin if most is None else min(margin, most)
                pairs.append(RankedPair(prompt, better, worse, margin))
    return pairs


# Systems over prompts


def rank(
    comparisons: Sequence[Comparison],
    *,
    seed: int = 0,
    resamples: int = 500,
    prior: float = PRIOR,
    k: float = 4.0,
) -> Ranking:
    """Rank systems by Bradley–Terry and Elo, with intervals over prompts.

    Args:
        comparisons: ``first`` and ``second`` are the systems' names.
        seed: Draws the bootstrap samples and the orders for Elo.
        resamples: Bootstrap samples; a sample draws whole prompts, with all their comparisons.
        prior: Draws added between each two systems, > 0.
        k: Elo's step. Elo ratings begin at 1000 and move by at most k a comparison, so that they
            also depend on how many there were; strengths do not.

    Raises:
        DataError: A comparison cannot be used, or there are systems that were never compared with
            each other, directly or through others.
    """
    by_prompt = by_prompt_of(comparisons)
    names = sorted(names_of(comparisons))
    check_connected(comparisons, "the systems")
    place = {name: i for i, name in enumerate(names)}
    n, p = len(names), len(by_prompt)
    wins_PSS = np.zeros((p, n, n))
    for row, group in enumerate(by_prompt.values()):
        for one in group:
            i, j = place[one.first], place[one.second]
            wins_PSS[row, i, j] += one.preference
            wins_PSS[row, j, i] += 1 - one.preference
    rng = np.random.default_rng(seed)
    counts_RP = rng.multinomial(p, np.full(p, 1 / p), size=resamples)
    strength_S = _strengths(wins_PSS.sum(0), prior)
    drawn_RS = np.array([_strengths(np.tensordot(c, wins_PSS, 1), prior) for c in counts_RP])
    elo_S = np.mean(
        [_elo(by_prompt, np.ones(p, np.int64), place, k, rng) for _ in range(ORDERS)], axis=0
    )
    elo_RS = np.array([_elo(by_prompt, c, place, k, rng) for c in counts_RP])
    total_S = wins_PSS.sum((0, 2)) + wins_PSS.sum((0, 1))
    standings = []
    for i, name in enumerate(names):
        low, high = _interval(drawn_RS[:, i], p)
        elo_low, elo_high = _interval(elo_RS[:, i], p)
        standings.append(
            Standing(
                name=name,
                strength=float(strength_S[i]),
                low=low,
                high=high,
                elo=float(elo_S[i]),
                elo_low=elo_low,
                elo_high=elo_high,
                win_rate=float(wins_PSS[:, i].sum() / total_S[i]),
                comparisons=round(float(total_S[i])),
            )
        )
    standings.sort(key=lambda standing: (-standing.strength, standing.name))
    differences = {}
    for a, b in combinations([standing.name for standing in standings], 2):
        i, j = place[a], place[b]
        low, high = _interval(drawn_RS[:, i] - drawn_RS[:, j], p)
        differences[a, b] = Interval(float(strength_S[i] - strength_S[j]), low, high, p)
    return Ranking(tuple(standings), differences, p)


# Parts


def _blocks(by_prompt: Mapping[str, Sequence[Comparison]]) -> Iterable[list[str]]:
    block: list[str] = []
    size = 0
    for prompt, group in by_prompt.items():
        n = len(names_of(group))
        if block and size + n > BLOCK:
            yield block
            block, size = [], 0
        block.append(prompt)
        size += n
    yield block


def _weighted(
    first: int, second: int, preference: float, weight: float = 1.0
) -> list[tuple[int, int, float]]:
    """Return wins as (winner, loser, weight): a soft preference is a part of a win for each."""
    parts = ((first, second, weight * preference), (second, first, weight * (1 - preference)))
    return [part for part in parts if part[2] > 0]


def _bradley_terry(edges: Sequence[tuple[int, int, float]], n: int) -> Floats:
    """Return log-strengths, shape (n,), of competitors with wins (winner, loser, weight)."""
    import evalica

    winners, losers, weights = (list(column) for column in zip(*edges, strict=True))
    result = evalica.bradley_terry(
        winners,
        losers,
        [evalica.Winner.X] * len(edges),
        weights=weights,
        tolerance=TOLERANCE,
        limit=LIMIT,
    )
    return _placed(result.scores, n, log=True)


def _placed(scores: Any, n: int, *, log: bool = False) -> Floats:
    values = np.empty(n)
    values[scores.index.to_numpy(dtype=np.int64)] = scores.to_numpy()
    return np.log(values) if log else values


def _strengths(wins_SS: Floats, prior: float) -> Floats:
    n = len(wins_SS)
    edges = [(i, j, float(wins_SS[i, j] + prior / 2)) for i in range(n) for j in range(n) if i != j]
    log_S = _bradley_terry(edges, n)
    centred: Floats = log_S - log_S.mean()
    return centred


def _elo(
    by_prompt: Mapping[str, Sequence[Comparison]],
    counts: NDArray[np.int64],
    place: Mapping[str, int],
    k: float,
    rng: np.random.Generator,
) -> Floats:
    """Return Elo ratings, shape (systems,), of prompts drawn ``counts`` times, in a random order.

    A soft preference moves the ratings by its two parts in turn, which differs from
    k (preference - expectation) in second order of k / 400 only.
    """
    import evalica

    chosen = [one for group, c in zip(by_prompt.values(), counts, strict=True) for one in group * c]
    edges = [
        edge
        for x in rng.permutation(len(chosen))
        for edge in _weighted(place[chosen[x].first], place[chosen[x].second], chosen[x].preference)
    ]
    winners, losers, weights = (list(column) for column in zip(*edges, strict=True))
    result = evalica.elo(winners, losers, [evalica.Winner.X] * len(edges), weights=weights, k=k)
    ratings = np.full(len(place), 1000.0)
    ratings[result.scores.index.to_numpy(dtype=np.int64)] = result.scores.to_numpy()
    return ratings


def _interval(draws: Floats, n: int) -> tuple[float, float]:
    """Return the 95% interval of a bootstrap over n prompts, expanded as in `bootstrap_mean`."""
    if n < 2:
        return -np.inf, np.inf
    low, high = np.quantile(draws, expanded_tails(n))
    return float(low), float(high)
