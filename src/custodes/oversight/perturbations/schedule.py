"""What disturbs the loop, on a schedule; and whether it did.

A `Schedule` says what is active at a step, and the `Disturbance` it returns wraps the roles'
answers. Everything is a pure function of the seed, the step and the index, so a resumed run is
disturbed as an uninterrupted one would have been. Each perturbation that is active notes which
share of what it was shown it changed: one that is never more than 0 disturbed nothing, and
whatever a run says about it says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np

from custodes.conversation import PreferencePair, Query
from custodes.errors import ConfigError, near_misses
from custodes.experts.expert import Rating
from custodes.oversight.perturbations.jailbreaks import wrap
from custodes.oversight.perturbations.kinds import (
    BiasedExpert,
    ExpertPerturbation,
    FlippedExpert,
    Jailbreak,
    NoisyExpert,
    Perturbation,
    PoisonedData,
    TopicSwap,
    WeightNoise,
)
from custodes.oversight.perturbations.recovery import Recovery, recovery
from custodes.oversight.roles import User, Worker
from custodes.runs.lineage import Checkpoint
from custodes.seeds import derive

__all__ = [
    "BiasedExpert",
    "Disturbance",
    "FlippedExpert",
    "Jailbreak",
    "NoisyExpert",
    "PerturbWeights",
    "Perturbation",
    "PoisonedData",
    "Recovery",
    "Schedule",
    "TopicSwap",
    "WeightNoise",
    "recovery",
]

P = TypeVar("P")
Composition = Mapping[tuple[str, str], float]


class PerturbWeights(Protocol):
    """Puts noise on a Worker's weights; the loop brings it along, as it knows the run folder."""

    def __call__(self, worker: Worker, sd: float, seed: int) -> Checkpoint:
        """Make a checkpoint whose metrics hold ``weights_moved``, the relative norm of the change.

        Args:
            worker: The Worker as it is.
            sd: Of the noise, relative to each weight matrix's root mean square.
            seed: Of the noise.
        """
        ...


class Schedule:
    """All perturbations of a run.

    Attributes:
        named: By name, which is the kind and the first step, e.g. ``flipped_expert@4``.
    """

    def __init__(self, perturbations: Sequence[Perturbation] = (), seed: int = 0) -> None:
        self.seed = seed
        self.named: dict[str, Perturbation] = {}
        for perturbation in perturbations:
            name = f"{perturbation.kind}@{perturbation.at}"
            same = sum(other.rpartition("#")[0] == name or other == name for other in self.named)
            self.named[f"{name}#{same + 1}" if same else name] = perturbation

    def at(self, step: int) -> Disturbance:
        """Return what is disturbed at a step."""
        active = {name: p for name, p in self.named.items() if p.active(step)}
        return Disturbance(step, active, self.seed)

    def check(
        self, *, steps: int, user: User, experts: Mapping[str, str], domains: Sequence[str]
    ) -> None:
        """Refuse what could never disturb this run.

        Args:
            steps: Steps of the run.
            user: Whom a topic swap would be for.
            experts: The Experts' domains, by name.
            domains: The run's domains.

        Raises:
            ConfigError: A perturbation begins after the end, names a domain or an Expert that is
                not there, or cannot be done to this User.
        """
        for name, perturbation in self.named.items():
            if perturbation.at >= steps:
                raise ConfigError(
                    f"{name} begins after the last step ({steps - 1})", "lower at, or add steps"
                )
            domain = getattr(perturbation, "domain", None)
            if domain is not None and domain not in domains:
                raise ConfigError(f"{name}: no domain {domain!r}", near_misses(domain, domains))
            if isinstance(perturbation, ExpertPerturbation):
                perturbation.check(name, experts)
            if isinstance(perturbation, TopicSwap):
                perturbation.of(name, user)
        noises = [p.at for p in self.named.values() if isinstance(p, WeightNoise)]
        if len(noises) > len(set(noises)):
            raise ConfigError("two weight noises at one step", "merge them, or move one")


class Disturbance:
    """What is disturbed at one step.

    Its methods return what the loop goes on with and leave what they were given as it was, so
    that the loop can keep both. They are pure but for one thing: they note what they changed.

    Attributes:
        step: Counted from 0.
        active: The perturbations of this step, by name.
    """

    def __init__(self, step: int, active: Mapping[str, Perturbation], seed: int) -> None:
        self.step = step
        self.active = active
        self._seed = seed
        self._shown = dict.fromkeys(active, 0)
        self._changed: dict[str, float] = dict.fromkeys(active, 0.0)

    @property
    def changed(self) -> dict[str, float]:
        """By name, the share of what it was shown so far that it changed, in [0, 1].

        0 for one that was shown nothing (no query of its domain, no retrain), so that a control
        which asks whether it was ever above 0 fails for it too.
        """
        return {name: self._changed[name] / max(self._shown[name], 1) for name in self.active}

    @property
    def disturbs_weights(self) -> bool:
        """Whether this step begins with noise on the weights."""
        return bool(self._of(WeightNoise))

    def user(self, user: User) -> User:
        """Return the User who asks at this step."""
        swaps = self._of(TopicSwap)
        if not swaps:
            return user
        name, swap = max(swaps, key=lambda named: named[1].at)
        before = swap.of(name, user)
        swapped = before.remixed(swap.mix, swap.topics)
        self._note(name, _distance(before.composition(), swapped.composition()), 1)
        return swapped

    def queries(self, queries: Sequence[Query]) -> list[Query]:
        """Return the queries as the Worker gets them."""
        asked = list(queries)
        for name, jailbreak in self._of(Jailbreak):
            for i, query in enumerate(asked):
                if jailbreak.domain not in (None, query.domain):
                    continue
                rng = self._rng(name, "query", i)
                if rng.random() < jailbreak.share:
                    wrapper = jailbreak.wrappers[int(rng.integers(len(jailbreak.wrappers)))]
                    asked[i] = wrap(query, wrapper, rng)
                self._note(name, asked[i].text != query.text, 1)
        return asked

    def ratings(self, expert: str, domain: str, ratings: Sequence[Rating]) -> list[Rating]:
        """Return an Expert's ratings as the Overseer gets them: abstentions stay, all in [0, 1].

        Args:
            expert: The Expert's name.
            domain: Its domain.
            ratings: What it said.
        """
        given = np.array([np.nan if r.value is None else r.value for r in ratings], np.float64)
        for name, perturbation in self._of(ExpertPerturbation):
            if not perturbation.concerns(expert, domain):
                continue
            before = given
            rng = self._rng(name, "rate", expert)
            given = np.clip(perturbation.rated(before, rng), 0.0, 1.0)
            spoke = ~np.isnan(before)
            self._note(name, int((given != before)[spoke].sum()), int(spoke.sum()))
        return [
            rating if rating.value is None else replace(rating, value=float(value))
            for rating, value in zip(ratings, given, strict=True)
        ]

    def pairs(self, domain: str, pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
        """Return the pairs as the Teacher learns from them in a retrain of this domain."""
        learnt = list(pairs)
        for name, poison in self._of(PoisonedData):
            if poison.domain not in (None, domain) or not learnt:
                continue
            count = max(1, round(poison.share * len(learnt)))
            for i in self._rng(name, "pairs", domain).permutation(len(learnt))[:count]:
                pair = learnt[i]
                learnt[i] = replace(pair, chosen=pair.rejected, rejected=pair.chosen)
            self._note(name, count, len(learnt))
        return learnt

    def weights(self, worker: Worker, perturb: PerturbWeights) -> Checkpoint | None:
        """Put noise on the Worker's weights where this step is due for it."""
        for name, noise in self._of(WeightNoise):
            checkpoint = perturb(worker, noise.sd, derive(self._seed, name))
            self._note(name, checkpoint.metrics["weights_moved"] > 0, 1)
            return checkpoint
        return None

    def _of(self, kind: type[P]) -> list[tuple[str, P]]:
        return [(name, p) for name, p in self.active.items() if isinstance(p, kind)]

    def _rng(self, *purpose: str | int) -> np.random.Generator:
        return np.random.default_rng(derive(self._seed, *purpose, self.step))

    def _note(self, name: str, changed: float, shown: int) -> None:
        self._changed[name] += float(changed)
        self._shown[name] += shown


def _distance(before: Composition, after: Composition) -> float:
    """Total variation distance between two distributions, in [0, 1]."""
    keys = before.keys() | after.keys()
    return sum(abs(before.get(key, 0.0) - after.get(key, 0.0)) for key in keys) / 2
