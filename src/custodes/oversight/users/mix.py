"""How queries are drawn: shares of the domains, and items without replacement.

Both are random access: a step's draw follows from its number alone, and no earlier step has to be
replayed, so that a resumed run asks the same as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from custodes.conversation import Query
from custodes.errors import ConfigError, near_misses
from custodes.seeds import derive

__all__ = ["Deck", "Mix", "checked_shares", "remix"]

T = TypeVar("T")

GOLDEN = (5**0.5 - 1) / 2


class Mix:
    """How many queries of each domain a step has.

    A step has each domain's share of the batch, rounded down or up depending on the seed and the
    step; over many steps the shares are exact. This is systematic sampling whose offset moves by
    the golden ratio (a low-discrepancy sequence).

    Args:
        shares: By domain, each at least 0; only their proportions count.
        batch: Queries a step (>= 1).
        seed: Draws the first offset.

    Raises:
        ConfigError: A share is negative or not finite, or all are 0.
    """

    def __init__(self, shares: Mapping[str, float], batch: int, seed: int) -> None:
        values = np.array(list(shares.values()), np.float64)
        if batch < 1:
            raise ConfigError(f"a batch of {batch} queries", "ask at least one a step")
        if not (np.isfinite(values).all() and (values >= 0).all() and values.sum() > 0):
            raise ConfigError(
                f"the mix {dict(shares)} has no shares to draw by",
                "give each domain a share of at least 0, and one of them more",
            )
        self.domains = tuple(shares)
        self.batch = batch
        self._edges = np.concatenate(([0.0], np.cumsum(values / values.sum()) * batch))
        self._edges[-1] = batch
        self._start = derive(seed, "mix") / 2**31

    def most(self, domain: str) -> int:
        """Return the most queries of a domain that any step has."""
        i = self.domains.index(domain)
        return min(self.batch, int(np.ceil(self._edges[i + 1] - self._edges[i] - 1e-9)))

    def positions(self, step: int) -> dict[str, range]:
        """Return which of each domain's queries, counted over the whole run, a step has."""
        counts_TD = self._counts(step + 1)
        before_D = counts_TD[:-1].sum(axis=0)
        return {
            domain: range(int(start), int(start + count))
            for domain, start, count in zip(self.domains, before_D, counts_TD[-1], strict=True)
        }

    def _counts(self, steps: int) -> NDArray[np.int64]:
        # A step takes the points u, u + 1, u + 2, … that lie between a domain's edges.
        offset_T = (self._start + np.arange(steps) * GOLDEN) % 1.0
        below_TE = np.ceil(self._edges[None, :] - offset_T[:, None])
        counts_TD: NDArray[np.int64] = np.diff(below_TE, axis=1).astype(np.int64)
        return counts_TD


class Deck(Generic[T]):
    """Items dealt without replacement, then shuffled and dealt again.

    Each half of the items is shuffled by itself, and the first half dealt first. So what ends one
    round cannot begin the next, and a hand of at most half the deck never holds an item twice. A
    deck of less than two hands keeps its order, for the same reason.

    Args:
        items: What to deal, at least one.
        hand: The most that is dealt at once.
        seed: Seeds all shuffles.
    """

    def __init__(self, items: Sequence[T], hand: int, seed: int) -> None:
        self.items = items
        self.shuffles = len(items) >= 2 * hand
        self._seed = seed

    def deal(self, positions: range) -> list[T]:
        """Return the items at these positions of the endless sequence."""
        n = len(self.items)
        orders = {round_: self._order(round_) for round_ in {p // n for p in positions}}
        return [self.items[orders[p // n][p % n]] for p in positions]

    def _order(self, round_: int) -> NDArray[np.int64]:
        all_ = np.random.default_rng(derive(self._seed, "halves")).permutation(len(self.items))
        rng = np.random.default_rng(derive(self._seed, "round", round_ if self.shuffles else 0))
        first, second = np.array_split(all_, [len(all_) // 2])
        return np.concatenate((rng.permutation(first), rng.permutation(second)))


def checked_shares(mix: Mapping[str, float] | None, domains: Sequence[str]) -> dict[str, float]:
    """Return a mix over known domains, equal shares where none is given.

    Raises:
        ConfigError: The mix names a domain without queries.
    """
    if mix is None:
        return dict.fromkeys(domains, 1.0)
    for domain in mix:
        if domain not in domains:
            raise ConfigError(f"the mix has no domain {domain!r}", near_misses(domain, domains))
    return {domain: share for domain, share in mix.items() if share != 0}


def remix(
    sources: Mapping[str, Sequence[Query]],
    shares: Mapping[str, float],
    mix: Mapping[str, float] | None,
    topics: Sequence[str] | None,
) -> tuple[dict[str, list[Query]], dict[str, float]]:
    """Keep the queries of some topics, and set the shares of their domains.

    Without a mix the domains that have these topics keep their proportions.

    Raises:
        ConfigError: No query is of a topic.
    """
    kept = {domain: list(queries) for domain, queries in sources.items()}
    if topics is not None:
        known = {query.topic for queries in kept.values() for query in queries}
        for topic in topics:
            if topic not in known:
                raise ConfigError(f"no prompt of topic {topic!r}", near_misses(topic, known))
        kept = {
            domain: [q for q in queries if q.topic in topics] for domain, queries in kept.items()
        }
    return kept, dict(mix or {domain: s for domain, s in shares.items() if kept[domain]})
