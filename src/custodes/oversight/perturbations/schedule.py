"""What disturbs the loop, and at which steps.

A `Schedule` knows which perturbations are active at a step. The `Disturbance` that it returns
changes what passes between the roles, and says with each result how much of it was changed.
Everything is a pure function of the seed, the step and the position, so that a resumed run is
disturbed as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np

from custodes.conversation import PreferencePair, Query
from custodes.errors import ConfigError, near_misses
from custodes.experts.expert import Rating
from custodes.oversight.perturbations.effects import Disturbed, Effect
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
            worker: The Worker before the noise.
            sd: Standard deviation of the noise, relative to each weight matrix's root mean square.
            seed: Draws the noise.
        """
        ...


class Schedule:
    """All perturbations of a run.

    Attributes:
        named: By name, which is the kind and the first step, e.g. ``flipped_expert@4``.
        seed: Derives every draw of every perturbation.
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
        self,
        *,
        steps: int,
        user: User,
        experts: Collection[tuple[str, str]],
        domains: Sequence[str],
        weights_are_here: bool = True,
    ) -> None:
        """Refuse perturbations that could never take effect in this run.

        Args:
            steps: Number of steps of the run.
            user: The User, whom a topic swap would change.
            experts: Name and domain of each Expert.
            domains: The run's domains.
            weights_are_here: Whether the Worker's weights can be changed on this machine.

        Raises:
            ConfigError: A perturbation begins after the end, names a domain or an Expert that is
                not there, or cannot be done to this User or to this Worker.
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
            if isinstance(perturbation, WeightNoise) and not weights_are_here:
                raise ConfigError(
                    f"{name}: the Worker's weights are not on this machine",
                    "use a Worker that is, or leave out the weight noise",
                )
        noises = [p.at for p in self.named.values() if isinstance(p, WeightNoise)]
        if len(noises) > len(set(noises)):
            raise ConfigError("two weight noises at one step", "merge them, or move one")


class Disturbance:
    """The perturbations of one step.

    Its methods are pure: they return what the loop goes on with, and what each perturbation
    changed of it, and leave their arguments as they were, so that the loop can keep both.

    Attributes:
        step: Counted from 0.
        active: The perturbations of this step, by name.
    """

    def __init__(self, step: int, active: Mapping[str, Perturbation], seed: int) -> None:
        self.step = step
        self.active = active
        self._seed = seed

    @property
    def disturbs_weights(self) -> bool:
        """Whether this step begins with noise on the weights."""
        return bool(self._of(WeightNoise))

    @property
    def changing_queries(self) -> tuple[str, ...]:
        """Names of the perturbations that change what the Worker is asked, whoever asks."""
        return tuple(name for name, _ in self._of(Jailbreak))

    def user(self, user: User) -> Disturbed[User]:
        """Return the User who asks at this step."""
        swaps = self._of(TopicSwap)
        if not swaps:
            return Disturbed(user)
        name, swap = max(swaps, key=lambda named: named[1].at)
        before = swap.of(name, user)
        after = before.remixed(swap.mix, swap.topics)
        distance = _distance(before.composition(), after.composition())
        return Disturbed(after, {name: Effect(distance, 1)})

    def queries(self, queries: Sequence[Query]) -> Disturbed[list[Query]]:
        """Return the queries as the Worker gets them."""
        wrapped, effects = list(queries), {}
        for name, jailbreak in self._of(Jailbreak):
            before = list(wrapped)
            concerned = [
                i for i, query in enumerate(before) if jailbreak.domain in (None, query.domain)
            ]
            for i in concerned:
                rng = self._rng(name, "query", i)
                if rng.random() < jailbreak.share:
                    wrapper = jailbreak.wrappers[int(rng.integers(len(jailbreak.wrappers)))]
                    wrapped[i] = wrap(before[i], wrapper, rng)
            changed = sum(wrapped[i].text != before[i].text for i in concerned)
            effects[name] = Effect(changed, len(concerned))
        return Disturbed(wrapped, effects)

    def ratings(
        self, expert: str, domain: str, ratings: Sequence[Rating]
    ) -> Disturbed[list[Rating]]:
        """Return an Expert's ratings as the Overseer gets them: abstentions stay, all in [0, 1].

        Args:
            expert: The Expert's name.
            domain: Its domain.
            ratings: Its ratings.
        """
        values = np.array([np.nan if r.value is None else r.value for r in ratings], np.float64)
        numbers, effects = ~np.isnan(values), {}
        for name, perturbation in self._of(ExpertPerturbation):
            if not perturbation.concerns(expert, domain):
                continue
            before, rng = values, self._rng(name, "rate", domain, expert)
            values = np.clip(perturbation.disturb(before, rng), 0.0, 1.0)
            changed = int((values != before)[numbers].sum())
            effects[name] = Effect(changed, int(numbers.sum()))
        disturbed = [
            rating if rating.value is None else replace(rating, value=float(value))
            for rating, value in zip(ratings, values, strict=True)
        ]
        return Disturbed(disturbed, effects)

    def pairs(
        self, domain: str, pairs: Sequence[PreferencePair]
    ) -> Disturbed[list[PreferencePair]]:
        """Return the pairs that the Teacher trains on in a retrain of this domain."""
        poisoned, effects = list(pairs), {}
        for name, poison in self._of(PoisonedData):
            if poison.domain not in (None, domain) or not poisoned:
                continue
            count = max(1, round(poison.share * len(poisoned)))
            for i in self._rng(name, "pairs", domain).permutation(len(poisoned))[:count]:
                pair = poisoned[i]
                poisoned[i] = replace(pair, chosen=pair.rejected, rejected=pair.chosen)
            effects[name] = Effect(count, len(poisoned))
        return Disturbed(poisoned, effects)

    def weights(self, worker: Worker, perturb: PerturbWeights) -> Disturbed[Checkpoint] | None:
        """Put noise on the Worker's weights; None where this step has no weight noise."""
        for name, noise in self._of(WeightNoise):
            checkpoint = perturb(worker, noise.sd, derive(self._seed, name))
            moved = checkpoint.metrics["weights_moved"] > 0
            return Disturbed(checkpoint, {name: Effect(moved, 1)})
        return None

    def _of(self, kind: type[P]) -> list[tuple[str, P]]:
        return [(name, p) for name, p in self.active.items() if isinstance(p, kind)]

    def _rng(self, *purpose: str | int) -> np.random.Generator:
        return np.random.default_rng(derive(self._seed, *purpose, self.step))


def _distance(before: Composition, after: Composition) -> float:
    """Total variation distance between two distributions, in [0, 1]."""
    keys = before.keys() | after.keys()
    return sum(abs(before.get(key, 0.0) - after.get(key, 0.0)) for key in keys) / 2
