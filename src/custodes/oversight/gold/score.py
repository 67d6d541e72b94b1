"""The gold score: a measurement on prompts and by Experts that no part of the loop sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import numpy as np
from pydantic import Field

from custodes.conversation import Query
from custodes.errors import DataError
from custodes.experts.expert import Expert
from custodes.experts.null import SimulatedExpert
from custodes.models.base import Array
from custodes.oversight.roles import Worker
from custodes.seeds import derive
from custodes.statistics import Interval, bootstrap_mean

__all__ = [
    "GoldChange",
    "GoldMeasurement",
    "GoldOptions",
    "GoldPanel",
    "Scorer",
    "SimulatedScorer",
    "as_scorer",
    "gold_change",
]


@dataclass(frozen=True)
class GoldOptions:
    """How the gold score is taken.

    Attributes:
        prompts: Number of held-out prompts in each domain.
        samples: Answers to each prompt; a prompt's score is their mean.
        sources: By domain: a shipped set or a file; its ``gold`` split is used.
        experts: By domain: the Expert that scores, which must not be one of the loop's: a head's
            name or file, ``package.module:object``, or ``none`` to go without a gold score.
        panel: Whether to measure coherence, repetition, length and over-refusal beside the score.
        look_alikes: Number of harmless prompts that sound harmful; how many of them are refused is
            part of the panel. 0 leaves it out.
    """

    prompts: Annotated[int, Field(ge=2)] = 96
    samples: Annotated[int, Field(ge=1)] = 1
    sources: Mapping[str, str] | None = None
    experts: Mapping[str, str] | None = None
    panel: bool = True
    look_alikes: Annotated[int, Field(ge=0)] = 40


@runtime_checkable
class Scorer(Protocol):
    """Scores answers on an open scale, higher being better."""

    name: str
    version: str

    def logits(self, queries: Sequence[Query], responses: Sequence[str]) -> Array:
        """Score ``responses[i]`` as an answer to ``queries[i]``; shape (n,), in logits."""
        ...


class SimulatedScorer:
    """Reads the latent level behind a simulated Worker's answer, as a logit."""

    NAME = "simulated-gold"

    def __init__(self, domain: str) -> None:
        self._expert = SimulatedExpert(domain)
        self.name = self.NAME
        self.version = f"simulated-gold-{domain}"

    def logits(self, queries: Sequence[Query], responses: Sequence[str]) -> Array:
        """Score answers; one that the simulated Worker did not write has the score 0."""
        values = [rating.value for rating in self._expert.rate(queries, responses)]
        level_N = np.clip([0.5 if v is None else v for v in values], 1e-3, 1 - 1e-3)
        return np.asarray(np.log(level_N / (1 - level_N)), np.float32)


class _RatedScorer:
    """Takes the logit of an Expert's ratings as the score."""

    def __init__(self, expert: Expert) -> None:
        self._expert, self.name, self.version = expert, expert.name, expert.version

    def logits(self, queries: Sequence[Query], responses: Sequence[str]) -> Array:
        """Score answers.

        Raises:
            DataError: The Expert abstained: a score that nobody gave cannot be averaged.
        """
        values = [rating.value for rating in self._expert.rate(queries, responses)]
        given = [value for value in values if value is not None]
        if len(given) < len(values):
            raise DataError(
                f"the gold Expert {self.name} abstained on {len(values) - len(given)} of "
                f"{len(values)} answers",
                "a gold Expert rates every answer; return 0.5 where it has no opinion",
            )
        level_N = np.clip(given, 1e-3, 1 - 1e-3)
        return np.asarray(np.log(level_N / (1 - level_N)), np.float32)


def as_scorer(scorer: Scorer | Expert) -> Scorer:
    """Return a scorer: an Expert without a score of its own is read by the logit of its ratings."""
    return scorer if isinstance(scorer, Scorer) else _RatedScorer(scorer)


@dataclass(frozen=True)
class GoldMeasurement:
    """One domain's gold scores of one checkpoint.

    Attributes:
        ids: Ids of the prompts.
        scores: Mean score of the answers to each prompt, in logits.
        texts: The first answer to each prompt, untrusted.
    """

    ids: tuple[str, ...]
    scores: tuple[float, ...]
    texts: tuple[str, ...]

    def only(self, rows: Sequence[int]) -> GoldMeasurement:
        """Return the measurement of some of the prompts, by position."""
        return GoldMeasurement(
            ids=tuple(self.ids[i] for i in rows),
            scores=tuple(self.scores[i] for i in rows),
            texts=tuple(self.texts[i] for i in rows),
        )


@dataclass(frozen=True)
class GoldPanel:
    """The held-out prompts of each domain and the Experts that score them.

    Attributes:
        queries: By domain.
        scorers: By domain.
        samples: Answers to each prompt.
        seed: Derives the seed of each measurement.
    """

    queries: Mapping[str, Sequence[Query]]
    scorers: Mapping[str, Scorer]
    samples: int
    seed: int

    def measure(self, worker: Worker, draw: int) -> dict[str, GoldMeasurement]:
        """Score the Worker's current checkpoint, by domain.

        Args:
            worker: The Worker.
            draw: Number of this measurement. Each has its own seed, so that two of the same
                weights differ by sampling noise, which the null run shows.
        """
        measurements = {}
        for domain, queries in self.queries.items():
            seed = derive(self.seed, "gold", domain, draw)
            texts = worker.samples(queries, self.samples, seed)
            flat = [(q, t) for q, answers in zip(queries, texts, strict=True) for t in answers]
            scores = self.scorers[domain].logits([q for q, _ in flat], [t for _, t in flat])
            means = np.asarray(scores, np.float64).reshape(len(queries), self.samples).mean(axis=1)
            measurements[domain] = GoldMeasurement(
                ids=tuple(query.id for query in queries),
                scores=tuple(round(float(score), 4) for score in means),
                texts=tuple(answers[0] for answers in texts),
            )
        return measurements


@dataclass(frozen=True)
class GoldChange:
    """One domain's gold score at a checkpoint, and its change from the first.

    Attributes:
        score: Mean over prompts, in logits.
        change: Mean of the paired differences from the first checkpoint.
        better: Share of prompts whose score rose, in [0, 1].
    """

    score: Interval
    change: Interval
    better: float


def gold_change(first: GoldMeasurement, now: GoldMeasurement, seed: int = 0) -> GoldChange:
    """Compare two measurements of one domain, paired by prompt.

    Args:
        first: The measurement at the first checkpoint.
        now: The measurement at another.
        seed: Draws the bootstrap's resamples.
    """
    if first.ids != now.ids:
        raise ValueError("gold measurements of different prompts cannot be compared")
    scores = np.asarray(now.scores)
    difference = scores - np.asarray(first.scores)
    return GoldChange(
        score=bootstrap_mean(scores, seed),
        change=bootstrap_mean(difference, seed),
        better=float((difference > 0).mean()),
    )
