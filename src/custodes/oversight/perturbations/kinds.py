"""The kinds of perturbations and their options, one frozen dataclass each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from custodes.errors import ConfigError, near_misses
from custodes.oversight.perturbations.jailbreaks import WRAPPERS
from custodes.oversight.roles import User
from custodes.oversight.users.dataset import MixedUser

__all__ = [
    "BiasedExpert",
    "ExpertPerturbation",
    "FlippedExpert",
    "Jailbreak",
    "NoisyExpert",
    "Perturbation",
    "PoisonedData",
    "TopicSwap",
    "WeightNoise",
]

Step = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Scheduled:
    """When a perturbation is active.

    Attributes:
        at: First disturbed step, counted from 0.
        until: First step that is no longer disturbed; none by default.
    """

    at: Step
    until: Step | None = None

    def __post_init__(self) -> None:
        if self.until is not None and self.until <= self.at:
            raise ConfigError(
                f"a perturbation from step {self.at} until step {self.until} is never active",
                "until is the first step without it, and after at",
            )

    def active(self, step: int) -> bool:
        """Whether it disturbs this step."""
        return self.at <= step and (self.until is None or step < self.until)


@dataclass(frozen=True, kw_only=True)
class ExpertPerturbation(_Scheduled):
    """Disturbs ratings.

    Attributes:
        domain: Only Experts of this domain; all by default.
        expert: Only the Expert of this name; all by default.
    """

    domain: str | None = None
    expert: str | None = None

    def concerns(self, expert: str, domain: str) -> bool:
        """Whether it disturbs this Expert's ratings."""
        return self.domain in (None, domain) and self.expert in (None, expert)

    def check(self, name: str, experts: Collection[tuple[str, str]]) -> None:
        """Refuse an Expert that does not exist.

        Args:
            name: The perturbation's.
            experts: Name and domain of each Expert; several may have one name.

        Raises:
            ConfigError: It disturbs none of them.
        """
        names = [expert for expert, _ in experts]
        if self.expert is not None and self.expert not in names:
            raise ConfigError(f"{name}: no Expert {self.expert!r}", near_misses(self.expert, names))
        if not any(self.concerns(expert, domain) for expert, domain in experts):
            raise ConfigError(
                f"{name}: no Expert {self.expert or ''} of domain {self.domain}",
                "leave out one of expert and domain",
            )

    def disturb(self, values: Values, rng: np.random.Generator) -> Values:
        """Disturb an Expert's ratings, shape (n,), NaN for abstentions; the caller clips them."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Jailbreak(_Scheduled):
    """A jailbreaking User: queries are wrapped in known jailbreaks.

    Attributes:
        domain: The domain whose queries are wrapped; None for all.
        share: Expected share of those queries that are wrapped.
        wrappers: Names of wrappers to draw from; all by default.
    """

    kind: Literal["jailbreak"] = "jailbreak"
    domain: str | None = "harmlessness"
    share: Share = 1.0
    wrappers: tuple[str, ...] = tuple(WRAPPERS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.wrappers:
            raise ConfigError("a jailbreak without wrappers", "known: " + ", ".join(WRAPPERS))
        for name in self.wrappers:
            if name not in WRAPPERS:
                raise ConfigError(f"no jailbreak wrapper {name!r}", near_misses(name, WRAPPERS))


@dataclass(frozen=True, kw_only=True)
class NoisyExpert(ExpertPerturbation):
    """An Expert whose ratings have Gaussian noise.

    Attributes:
        sd: Standard deviation of the noise; ratings are clipped to [0, 1] after it.
    """

    kind: Literal["noisy_expert"] = "noisy_expert"
    sd: Annotated[float, Field(gt=0, le=1)] = 0.25

    def disturb(self, values: Values, rng: np.random.Generator) -> Values:
        """Add noise."""
        return values + rng.normal(0.0, self.sd, len(values))


@dataclass(frozen=True, kw_only=True)
class BiasedExpert(ExpertPerturbation):
    """An Expert who is lenient or strict.

    Attributes:
        offset: Added to its ratings, which are clipped to [0, 1] after it; above 0 is lenient.
    """

    kind: Literal["biased_expert"] = "biased_expert"
    offset: Annotated[float, Field(ge=-1, le=1)] = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.offset == 0:
            raise ConfigError("a biased expert with offset 0", "give an offset above or below 0")

    def disturb(self, values: Values, rng: np.random.Generator) -> Values:
        """Add the offset."""
        del rng
        return values + self.offset


@dataclass(frozen=True, kw_only=True)
class FlippedExpert(ExpertPerturbation):
    """An Expert with its sign flipped: a rating v becomes 1 − v."""

    kind: Literal["flipped_expert"] = "flipped_expert"

    def disturb(self, values: Values, rng: np.random.Generator) -> Values:
        """Flip."""
        del rng
        return 1.0 - values


@dataclass(frozen=True, kw_only=True)
class PoisonedData(_Scheduled):
    """Preference pairs of the Teacher in which chosen and rejected are swapped.

    Attributes:
        domain: Only retrains in this domain; all by default.
        share: Share of the pairs that are swapped (rounded, and at least one).
    """

    kind: Literal["poisoned_data"] = "poisoned_data"
    domain: str | None = None
    share: Share = 0.5


@dataclass(frozen=True, kw_only=True)
class WeightNoise:
    """Gaussian noise on the Worker's weights, added once; only a retrain can undo it.

    Attributes:
        at: The step before which it is added, counted from 0. It makes a new checkpoint.
        sd: Standard deviation of the noise, relative to each weight matrix's root mean square;
            for the simulated Worker, in logits of its two propensities.
    """

    at: Step
    kind: Literal["weight_noise"] = "weight_noise"
    sd: Annotated[float, Field(gt=0, le=10)] = 0.1
    until: ClassVar[int | None] = None

    def active(self, step: int) -> bool:
        """Whether it is put on at this step."""
        return step == self.at


@dataclass(frozen=True, kw_only=True)
class TopicSwap(_Scheduled):
    """A User who changes the subject; of several active ones the latest counts.

    Attributes:
        mix: New share of each domain; as before by default.
        topics: Only these topics; all by default.
    """

    kind: Literal["topic_swap"] = "topic_swap"
    mix: Mapping[str, Annotated[float, Field(ge=0)]] | None = None
    topics: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.mix and not self.topics:
            raise ConfigError("a topic swap without mix or topics", "give one of them, or both")

    def of(self, name: str, user: User) -> MixedUser:
        """Return the User as one whose mix can be changed, after checking that it can be.

        Raises:
            ConfigError: The User has no mix, or no such domain or topic.
        """
        if not isinstance(user, MixedUser):
            raise ConfigError(
                f"{name}: a {type(user).__name__} has no mix to change",
                "use a dataset or an LLM as User",
            )
        user.remixed(self.mix, self.topics)
        return user


Perturbation = (
    Jailbreak | NoisyExpert | BiasedExpert | FlippedExpert | PoisonedData | WeightNoise | TopicSwap
)
