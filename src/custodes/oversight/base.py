"""The words of oversight: what passes between the roles, and what each role promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from custodes.models.base import Message
from custodes.runs.lineage import Checkpoint

if TYPE_CHECKING:
    from custodes.data.datasets import PreferencePair

__all__ = [
    "DOMAINS",
    "Checkpoint",
    "DisturbPairs",
    "Evidence",
    "Expert",
    "Overseer",
    "Query",
    "Rating",
    "Response",
    "Teacher",
    "User",
    "Verdict",
    "Worker",
]

DisturbPairs = Callable[[str, "Sequence[PreferencePair]"], "list[PreferencePair]"]
"""Given a domain and its preference pairs, returns the pairs to learn from."""

DOMAINS = ("helpfulness", "harmlessness")


@dataclass(frozen=True)
class Query:
    """What a User asks.

    Attributes:
        id: Unique within its step; the same prompt keeps the same id across steps.
        chat: The whole conversation so far; its last message is the User's.
        domain: The domain whose Expert rates the answer.
        topic: A finer label within the domain, "" if there is none.
    """

    id: str
    chat: tuple[Message, ...]
    domain: str
    topic: str = ""

    @property
    def text(self) -> str:
        """The User's last words."""
        return self.chat[-1]["content"]


@dataclass(frozen=True)
class Response:
    """What the Worker answered, and which checkpoint of it did.

    Attributes:
        text: The answer, untrusted.
        checkpoint: Number of the checkpoint that answered, 0 being the base.
        version: The serving model's version.
    """

    text: str
    checkpoint: int
    version: str


@dataclass(frozen=True)
class Rating:
    """One Expert's opinion of one response.

    Attributes:
        value: In [0, 1], or None where the Expert abstains.
        reason: Why it abstained, or its words; untrusted where a model or a person said them.
    """

    value: float | None
    reason: str = ""

    @property
    def abstained(self) -> bool:
        """Whether there is no number."""
        return self.value is None


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
class Expert(Protocol):
    """Rates responses in one domain.

    Attributes:
        name: What reports call it.
        domain: What it judges.
        version: Changes whenever its ratings could.
    """

    name: str
    domain: str
    version: str

    def rate(self, queries: Sequence[Query], responses: Sequence[str]) -> list[Rating]:
        """Rate ``responses[i]`` as an answer to ``queries[i]``, all in one batch."""
        ...

    def report(self) -> dict[str, Any]:
        """Return the controls it carries (held-out accuracy, flips, abstentions), JSON-ready."""
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
