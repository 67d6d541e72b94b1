"""The Overseer: looks at ratings every few steps and decides who goes to the Teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from custodes.experts.expert import Rating
from custodes.oversight.bounds import lower_bound
from custodes.oversight.roles import Evidence, Verdict

__all__ = ["NullOverseer", "OverseerOptions", "ThresholdOverseer"]

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class OverseerOptions:
    """How the Overseer decides.

    Attributes:
        overseer_steps: It intercepts at every so many-th step.
        rate: Rate ``every_response``, or at ``intercepts_only`` (cheaper; less evidence).
        thresholds: By domain, in [0, 1]; a domain fails when its statistic is at or below it.
        rule: The statistic: ``single`` (the worst response), ``mean``, or ``lower_bound``, a lower
            confidence bound of the mean. The first two fail healthy domains, or pass failing ones,
            by chance; with the bound a domain passes only when the ratings show that it may.
        alpha: Error rate of the bound: how often a domain at its threshold would pass.
        min_ratings: A domain with fewer ratings since the last intercept is not judged.
        max_retrains: Retrain budget of the whole run.
        cooldown: Steps after a retrain in which there is no other.
    """

    overseer_steps: Annotated[int, Field(ge=1)] = 2
    rate: Literal["every_response", "intercepts_only"] = "every_response"
    thresholds: Mapping[str, Share] = field(
        default_factory=lambda: {"helpfulness": 0.5, "harmlessness": 0.5}
    )
    rule: Literal["single", "mean", "lower_bound"] = "lower_bound"
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    min_ratings: Annotated[int, Field(ge=1)] = 8
    max_retrains: Annotated[int, Field(ge=0)] = 3
    cooldown: Annotated[int, Field(ge=0)] = 2


class NullOverseer:
    """Never looks."""

    def wants_ratings(self, step: int) -> bool:
        """Return False."""
        del step
        return False

    def review(
        self, step: int, ratings: Mapping[str, Sequence[Rating]], checkpoint: int
    ) -> Verdict:
        """Let it go on."""
        del step, ratings, checkpoint
        return Verdict(intercept=False)


class ThresholdOverseer:
    """Holds each domain's ratings since the last intercept against the domain's threshold."""

    def __init__(self, options: OverseerOptions) -> None:
        self.options = options
        self._seen: dict[str, list[float]] = {domain: [] for domain in options.thresholds}
        self._checkpoint = 0
        self._retrains = 0
        self._last_retrain: int | None = None

    def wants_ratings(self, step: int) -> bool:
        """Whether all are to be rated, or this step is an intercept."""
        return self.options.rate == "every_response" or self.intercepts(step)

    def intercepts(self, step: int) -> bool:
        """Whether this step (counted from 0) is the last of a group of ``overseer_steps``."""
        return (step + 1) % self.options.overseer_steps == 0

    def review(
        self, step: int, ratings: Mapping[str, Sequence[Rating]], checkpoint: int
    ) -> Verdict:
        """Gather this step's ratings and, at an intercept, decide.

        Ratings of an earlier checkpoint say nothing about this one and are dropped.
        """
        if checkpoint != self._checkpoint:
            self._checkpoint = checkpoint
            self._forget()
        for domain, given in ratings.items():
            if domain in self._seen:
                self._seen[domain] += [r.value for r in given if r.value is not None]
        if not self.intercepts(step):
            return Verdict(intercept=False)
        found = {domain: self._weigh(domain, values) for domain, values in self._seen.items()}
        self._forget()
        return self._decide(step, found)

    def _forget(self) -> None:
        for values in self._seen.values():
            values.clear()

    def _weigh(self, domain: str, values: Sequence[float]) -> Evidence:
        threshold = self.options.thresholds[domain]
        if not values:
            return Evidence(0, 0.0, 0.0, threshold, failing=False, held="too few ratings")
        mean = float(np.mean(values))
        statistic = {
            "single": lambda: min(values),
            "mean": lambda: mean,
            "lower_bound": lambda: lower_bound(values, self.options.alpha),
        }[self.options.rule]()
        failing = statistic <= threshold
        few = len(values) < self.options.min_ratings
        held = "too few ratings" if failing and few else ""
        return Evidence(len(values), mean, statistic, threshold, failing, held)

    def _decide(self, step: int, found: dict[str, Evidence]) -> Verdict:
        # The domain furthest below its threshold goes first; ties go by the config's order.
        candidates = sorted(
            (domain for domain, e in found.items() if e.failing and not e.held),
            key=lambda domain: found[domain].statistic - found[domain].threshold,
        )
        cooling = (
            self._last_retrain is not None and step - self._last_retrain <= self.options.cooldown
        )
        reason = (
            "budget"
            if self._retrains >= self.options.max_retrains
            else "cool-down"
            if cooling
            else ""
        )
        chosen = candidates[0] if candidates and not reason else None
        for domain in candidates:
            if domain != chosen:
                e = found[domain]
                why = reason or "another domain first"
                found[domain] = Evidence(e.n, e.mean, e.statistic, e.threshold, e.failing, why)
        if chosen is not None:
            self._retrains += 1
            self._last_retrain = step
        return Verdict(intercept=True, retrain=chosen, evidence=found)
