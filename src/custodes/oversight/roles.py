"""The words of oversight: what passes between the roles, and what each role promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

from custodes.conversation import PreferencePair, Query, Response
from custodes.experts.expert import Rating
from custodes.runs.lineage import Checkpoint

__all__ = [
    "DOMAINS",
    "DisturbPairs",
    "Evidence",
    "Overseer",
    "Teacher",
    "User",
    "Verdict",
    "Worker",
]

DisturbPairs = Callable[[str, Sequence[PreferencePair]], list[PreferencePair]]
"""Given a domain and its preference pairs, returns the pairs to learn from."""

DOMAINS = ("helpfulness", "harmlessness")


@dataclass(frozen=True)
class Evidence:
    """What the Overseer knew of one domain when it decided.

    Attributes:
        n: Ratings it rests on (abstentions are not among them).
        mean: Their mean, in [0, 1].
        statistic: What was held against the threshold: a rating, the mean, or its lower bound.
        threshold: The domain's threshold, in [0, 1].
        failing: Whether ``statistic <= threshold``.
        held: Why a failing domain was not retrained ("budget", "cool-down", "too few ratings",
            "another domain first"), else "".
    """

    n: int
    mean: float
    statistic: float
    threshold: float
    failing: bool
    held: str = ""


@dataclass(frozen=True)
class Verdict:
    """What the Overseer decided at a step.

    Attributes:
        intercept: Whether it looked at all.
        retrain: The domain to send to the Teacher, or None.
        evidence: By domain; empty where it did not look.
    """

    intercept: bool
    retrain: str | None = None
    evidence: Mapping[str, Evidence] = field(default_factory=dict)


@runtime_checkable
class User(Protocol):
    """Where queries come from.

    Attributes:
        turns: User messages in one conversation (>= 1); the last answer is the one rated.
    """

    turns: int

    def ask(self, step: int) -> list[Query]:
        """Open this step's conversations. A pure function of the seed and the step."""
        ...

    def follow_up(
        self, step: int, queries: Sequence[Query], responses: Sequence[Response]
    ) -> list[Query]:
        """Go on with each conversation after the Worker's answer (only when ``turns > 1``)."""
        ...


@runtime_checkable
class Worker(Protocol):
    """The model under supervision."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The weights that answer now."""
        ...

    @property
    def version(self) -> str:
        """The serving model's version."""
        ...

    def respond(self, queries: Sequence[Query], seed: int) -> list[Response]:
        """Answer in one batch."""
        ...

    def samples(self, queries: Sequence[Query], n: int, seed: int) -> list[list[str]]:
        """Answer each query ``n`` times, for a Teacher to choose from."""
        ...

    def at(self, checkpoint: Checkpoint) -> Self:
        """Return this Worker with other weights."""
        ...


@runtime_checkable
class Overseer(Protocol):
    """Decides. A pure core: its state is a function of what it was shown, so a log replays it."""

    def wants_ratings(self, step: int) -> bool:
        """Whether it will read this step's ratings (those that nobody reads are not made)."""
        ...

    def review(
        self, step: int, ratings: Mapping[str, Sequence[Rating]], checkpoint: int
    ) -> Verdict:
        """Look at this step's ratings, by domain, of this checkpoint, and decide."""
        ...


@runtime_checkable
class Teacher(Protocol):
    """Retrains the Worker in a domain."""

    def retrain(
        self, worker: Worker, domain: str, step: int, folder: Path, disturb: DisturbPairs
    ) -> Checkpoint:
        """Make the next checkpoint.

        Args:
            worker: The Worker as it is.
            domain: Where it fails.
            step: When (part of the seed).
            folder: Where the adapter and every finished stage are kept, so that a retrain that
                was killed goes on from its last finished stage.
            disturb: Has the last word on the domain's preference pairs before they are learnt.
        """
        ...
