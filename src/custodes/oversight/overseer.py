"""The Overseer: looks at ratings every few steps and decides whether the Worker is retrained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from custodes.experts.expert import Rating
from custodes.oversight.bounds import lower_bound
from custodes.oversight.roles import Evidence, Verdict

__all__ = ["NullOverseer", "OverseerOptions", "ThresholdOverseer"]

Share = Annotated[float, Field(ge=0, le=1)]

USUAL_THRESHOLD = 0.5
"""The threshold of every domain where none is given: an answer like any other."""


@dataclass(frozen=True)
class OverseerOptions:
    """How the Overseer decides.

    Attributes:
        overseer_steps: Steps from one intercept to the next.
        rate: Rate ``every_response``, or at ``intercepts_only`` (cheaper; less evidence).
        thresholds: By domain, in [0, 1]; a domain fails when its statistic is at or below it. By
            default 0.5 in every domain; a domain that is left out is not watched.
        rule: The statistic: ``single`` (the worst response), ``mean``, or ``lower_bound``, a lower
            confidence bound of the mean. The first two fail healthy domains, or pass failing ones,
            by chance; with the bound a domain passes only if its ratings are evidence that it may.
        alpha: Error rate of the bound: how often a domain at its threshold would pass.
        min_ratings: A domain with fewer ratings since the last intercept is not judged.
        max_retrains: Most retrains in the whole run.
        cooldown: Steps after a retrain without another.
        object: An Overseer of your own (docs/guide/own_roles.md): the name of an entry point,
            ``package.module:object`` or ``file.py:object``. Of the other keys only the thresholds
            then count: they say to the controls which ratings are bad.
    """

    overseer_steps: Annotated[int, Field(ge=1)] = 2
    rate: Literal["every_response", "intercepts_only"] = "every_response"
    thresholds: Mapping[str, Share] | None = None
    rule: Literal["single", "mean", "lower_bound"] = "lower_bound"
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    min_ratings: Annotated[int, Field(ge=1)] = 8
    max_retrains: Annotated[int, Field(ge=0)] = 3
    cooldown: Annotated[int, Field(ge=0)] = 2
    object: str | None = None


class NullOverseer:
    """Never looks at a rating."""

    def wants_ratings(self, step: int) -> bool:
        """Return False."""
        del step
        return False

    def review(
        self, step: int, ratings: Mapping[str, Sequence[Rating]], checkpoint: int
    ) -> Verdict:
        """Return a verdict without an intercept."""
        del step, ratings, checkpoint
        return Verdict(intercept=False)


class ThresholdOverseer:
    """Compares each domain's ratings since the last intercept with the domain's threshold.

    Args:
        options: How it decides. Where it has no thresholds, every domain that is rated is watched.
    """

    def __init__(self, options: OverseerOptions) -> None:
        self.options = options
        self._values: dict[str, list[float]] = {domain: [] for domain in options.thresholds or ()}
        self._checkpoint = 0
        self._retrains = 0
        self._last_retrain: int | None = None

    def wants_ratings(self, step: int) -> bool:
        """Whether all responses are to be rated, or this step is an intercept."""
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
        for domain, new in ratings.items():
            if self.options.thresholds is None:
                self._values.setdefault(domain, [])
            if domain in self._values:
                self._values[domain] += [r.value for r in new if r.value is not None]
        if not self.intercepts(step):
            return Verdict(intercept=False)
        evidence = {domain: self._weigh(domain, values) for domain, values in self._values.items()}
        self._forget()
        return self._decide(step, evidence)

    def _forget(self) -> None:
        for values in self._values.values():
            values.clear()

    def _weigh(self, domain: str, values: Sequence[float]) -> Evidence:
        threshold = (self.options.thresholds or {}).get(domain, USUAL_THRESHOLD)
        if not values:
            return Evidence(
                n=0,
                mean=0.0,
                statistic=0.0,
                threshold=threshold,
                failing=False,
                held="too few ratings",
            )
        mean = float(np.mean(values))
        statistic = {
            "single": lambda: min(values),
            "mean": lambda: mean,
            "lower_bound": lambda: lower_bound(values, self.options.alpha),
        }[self.options.rule]()
        failing = statistic <= threshold
        few = len(values) < self.options.min_ratings
        return Evidence(
            n=len(values),
            mean=mean,
            statistic=statistic,
            threshold=threshold,
            failing=failing,
            held="too few ratings" if failing and few else "",
        )

    def _decide(self, step: int, evidence: dict[str, Evidence]) -> Verdict:
        # The domain furthest below its threshold goes first; ties go by the config's order.
        candidates = sorted(
            (domain for domain, e in evidence.items() if e.failing and not e.held),
            key=lambda domain: evidence[domain].statistic - evidence[domain].threshold,
        )
        obstacle = self._obstacle(step)
        retrain = candidates[0] if candidates and not obstacle else None
        for domain in candidates:
            if domain != retrain:
                held = obstacle or "another domain first"
                evidence[domain] = replace(evidence[domain], held=held)
        if retrain is not None:
            self._retrains += 1
            self._last_retrain = step
        return Verdict(intercept=True, retrain=retrain, evidence=evidence)

    def _obstacle(self, step: int) -> str:
        """Say why no domain may be retrained at this step, "" if one may."""
        if self._retrains >= self.options.max_retrains:
            return "budget"
        if self._last_retrain is not None and step - self._last_retrain <= self.options.cooldown:
            return "cool-down"
        return ""
