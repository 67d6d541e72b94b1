"""The roles of the loop: what each promises, and what passes between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

from custodes.conversation import PreferencePair, Query, Response
from custodes.experts.expert import Rating
from custodes.oversight.teachers.preference_pairs import PreferenceData
from custodes.runs.lineage import Checkpoint

__all__ = [
    "Evidence",
    "Overseer",
    "Teacher",
    "User",
    "Verdict",
    "Worker",
]


@dataclass(frozen=True)
class Evidence:
    """What the Overseer knew of one domain when it decided.

    Attributes:
        n: Number of ratings, abstentions not counted.
        mean: Their mean, in [0, 1].
        statistic: What is compared with the threshold: a rating, the mean, or its lower bound.
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
        intercept: Whether the step is one at which it looks at the ratings.
        retrain: The domain in which the Worker is retrained, or None.
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
    """Retrains the Worker in a domain, in two stages: it gathers preference pairs, and trains.

    Between the two the loop may disturb the pairs.
    """

    def gather(self, worker: Worker, domain: str, step: int, folder: Path) -> PreferenceData:
        """Gather the preference pairs of a retrain.

        Args:
            worker: The Worker before the retrain.
            domain: The domain in which it fails.
            step: The loop's step; part of the seed.
            folder: Keeps every finished stage, so that a retrain that was killed continues from
                its last finished stage.
        """
        ...

    def train(
        self,
        worker: Worker,
        domain: str,
        step: int,
        folder: Path,
        data: PreferenceData,
        pairs: Sequence[PreferencePair],
    ) -> Checkpoint:
        """Make the next checkpoint.

        Args:
            worker, domain, step, folder: As in `gather`.
            data: What `gather` returned.
            pairs: The pairs to train on: those of ``data``, some perhaps swapped.
        """
        ...
