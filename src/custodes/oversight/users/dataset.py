"""Users that take their queries from data sets, and the null User."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self, runtime_checkable

from custodes.conversation import Query, Response
from custodes.errors import ConfigError, DataError
from custodes.oversight.roles import User
from custodes.oversight.users.mix import Deck, Mix, checked_shares, remix
from custodes.seeds import derive

__all__ = ["DatasetUser", "MixedUser", "RepeatingUser"]


@runtime_checkable
class MixedUser(User, Protocol):
    """A User whose domains and topics can be changed (see the perturbation ``topic_swap``)."""

    def composition(self) -> dict[tuple[str, str], float]:
        """Return the share of its queries in each domain and topic, in the long run."""
        ...

    def remixed(self, mix: Mapping[str, float] | None, topics: Sequence[str] | None) -> Self:
        """Return this User with another mix, other topics, or both."""
        ...


class RepeatingUser:
    """Asks the same at every step: the null User, with whom only the Worker can change."""

    turns = 1

    def __init__(self, queries: Sequence[Query]) -> None:
        self.queries = list(queries)

    def ask(self, step: int) -> list[Query]:
        """Return the same queries."""
        del step
        return list(self.queries)

    def follow_up(
        self, step: int, queries: Sequence[Query], responses: Sequence[Response]
    ) -> list[Query]:
        """Never called: it asks one question a conversation."""
        raise NotImplementedError

    def report(self, step: int) -> dict[str, Any]:
        """Count a step's queries."""
        del step
        return {"asked": len(self.queries), "dropped": 0}


class DatasetUser:
    """Samples datasets without replacement until they are exhausted, then shuffles them anew.

    Args:
        sources: By domain, the queries. A prompt that occurs again, in the same domain or another,
            is asked only where it occurs first (``duplicates`` counts the others).
        batch: Number of queries a step (>= 1).
        mix: Share of each domain in the batch; equal shares by default.
        seed: Seeds all sampling.

    Attributes:
        duplicates: Number of prompts that were left out because they occur before.

    Raises:
        ConfigError: A domain has fewer prompts than a step asks of it, or the mix is no mix.
        DataError: Two different prompts have one id.
    """

    turns = 1

    def __init__(
        self,
        sources: Mapping[str, Sequence[Query]],
        batch: int,
        *,
        mix: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        self.sources, self.duplicates = _distinct(sources)
        self.seed = seed
        self.shares = checked_shares(mix, list(sources))
        self.mix = Mix(self.shares, batch, derive(seed, "user"))
        self._decks = {domain: self._deck(domain) for domain in self.mix.domains}

    def _deck(self, domain: str) -> Deck[Query]:
        queries, most = self.sources[domain], self.mix.most(domain)
        if len(queries) < most:
            raise ConfigError(
                f"a step asks {most} queries of {domain}, which has {len(queries)} "
                f"({self.duplicates} repeated ones apart)",
                "lower the batch or its share, or add prompts",
            )
        return Deck(queries, most, derive(self.seed, "user", domain))

    def ask(self, step: int) -> list[Query]:
        """Deal this step's queries, one domain after another."""
        return [
            query
            for domain, positions in self.mix.positions(step).items()
            for query in self._decks[domain].deal(positions)
        ]

    def follow_up(
        self, step: int, queries: Sequence[Query], responses: Sequence[Response]
    ) -> list[Query]:
        """Never called: it asks one question a conversation."""
        raise NotImplementedError

    def composition(self) -> dict[tuple[str, str], float]:
        """Return the share of its queries in each domain and topic, in the long run."""
        total = sum(self.shares.values())
        return {
            (domain, topic): share / total * count / len(self.sources[domain])
            for domain, share in self.shares.items()
            for topic, count in Counter(q.topic for q in self.sources[domain]).items()
        }

    def remixed(self, mix: Mapping[str, float] | None, topics: Sequence[str] | None) -> Self:
        """Return a User of the same prompts with another mix, only some topics, or both.

        Without a mix the domains that have these topics keep their proportions.

        Raises:
            ConfigError: A topic or domain is unknown, or has too few prompts for the batch.
        """
        sources, shares = remix(self.sources, self.shares, mix, topics)
        seed = derive(self.seed, "remixed")
        return type(self)(sources, self.mix.batch, mix=shares, seed=seed)

    def report(self, step: int) -> dict[str, Any]:
        """Count a step's queries."""
        del step
        return {"asked": self.mix.batch, "dropped": 0}


def _distinct(sources: Mapping[str, Sequence[Query]]) -> tuple[dict[str, list[Query]], int]:
    """Leave out prompts that occur before, and count them."""
    ids: set[str] = set()
    prompts: set[tuple[str, ...]] = set()
    kept: dict[str, list[Query]] = {domain: [] for domain in sources}
    for domain, queries in sources.items():
        for query in queries:
            if query.domain != domain:
                raise ValueError(f"query {query.id} of {query.domain} given for {domain}")
            texts = tuple(message["content"] for message in query.chat)
            if texts in prompts:
                continue
            if query.id in ids:
                raise DataError(f"two prompts have the id {query.id!r}", "rename one in its file")
            prompts.add(texts)
            ids.add(query.id)
            kept[domain].append(query)
    return kept, sum(map(len, sources.values())) - len(prompts)
