"""The config of ``custodes oversee``: the border, where YAML becomes the options of the roles."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from custodes.errors import ConfigError, near_misses
from custodes.experts.expert import DOMAIN_NAME, DOMAINS
from custodes.models.simulated import Dynamics
from custodes.oversight.gold.score import GoldOptions
from custodes.oversight.overseer import USUAL_THRESHOLD, OverseerOptions
from custodes.oversight.perturbations.schedule import Perturbation
from custodes.oversight.teachers.dpo import TeacherOptions
from custodes.oversight.teachers.instructor import InstructorOptions
from custodes.training.live import ReportTo

__all__ = [
    "DatasetUserOptions",
    "EnsembleOptions",
    "HeadOptions",
    "HumanOptions",
    "JudgeOptions",
    "LlmUserOptions",
    "NullTeacherOptions",
    "OverseeConfig",
    "OwnExpertOptions",
    "OwnTeacherOptions",
    "OwnUserOptions",
    "SimulatedExpertOptions",
    "SimulatedTeacherOptions",
    "WorkerOptions",
]

Positive = Annotated[int, Field(ge=1)]
ByKind = Field(discriminator="kind")


@dataclass(frozen=True)
class WorkerOptions:
    """The Worker.

    Attributes:
        model: Any model name.
        engine: The engine that serves it; ``auto`` takes the fastest that can.
        max_tokens: Longest answer, in tokens.
        temperature: Sampling temperature; 0 is greedy.
        top_p: Probability mass of nucleus sampling.
    """

    model: str = "smollm2-135m"
    engine: Literal["auto", "torch", "openvino", "vllm", "endpoint", "simulated"] = "auto"
    max_tokens: Positive = 64
    temperature: Annotated[float, Field(ge=0, le=5)] = 0.9
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0


@dataclass(frozen=True)
class DatasetUserOptions:
    """A User who samples data sets.

    Attributes:
        batch: Number of queries a step.
        sources: By domain: a shipped set, a file, or a ``datasets`` hub id.
        mix: By domain: its share of the queries; equal shares by default.
    """

    kind: Literal["dataset"] = "dataset"
    batch: Positive = 16
    sources: Mapping[str, str] | None = None
    mix: Mapping[str, Annotated[float, Field(ge=0)]] | None = None


@dataclass(frozen=True)
class LlmUserOptions:
    """A User who is a language model.

    Attributes:
        model: Any model name.
        batch: Number of conversations a step.
        turns: Number of user messages in each.
        sources: By domain: a data set whose prompts are the model's examples.
        mix: By domain: its share of the conversations; equal shares by default.
    """

    kind: Literal["llm"] = "llm"
    model: str = "smollm2-135m"
    batch: Positive = 16
    turns: Positive = 1
    sources: Mapping[str, str] | None = None
    mix: Mapping[str, Annotated[float, Field(ge=0)]] | None = None


@dataclass(frozen=True)
class OwnUserOptions:
    """A User of your own (docs/guide/own_roles.md).

    Attributes:
        object: The name of an entry point, ``package.module:object`` or ``file.py:object``. The
            object is a User, or makes one.
        batch: Number of queries a step, for an object that makes a User.
        sources: By domain: the prompts for such an object, and for the Teacher.
    """

    kind: Literal["own"] = "own"
    object: str = ""
    batch: Positive = 16
    sources: Mapping[str, str] | None = None


@dataclass(frozen=True)
class HeadOptions:
    """A linear head on the hidden states of a frozen model.

    Attributes:
        domain: The domain it rates.
        head: A shipped head's name or a file of ``custodes experts fit``; the domain's own one by
            default.
    """

    kind: Literal["head"] = "head"
    domain: str = ""
    head: str | None = None


@dataclass(frozen=True)
class JudgeOptions:
    """A language model that is asked for a rating.

    Attributes:
        domain: The domain it rates.
        model: Any model name.
        template: What it is asked: a shipped template's name or a YAML file; the domain's own one
            by default.
    """

    kind: Literal["judge"] = "judge"
    domain: str = ""
    model: str = "qwen2.5-coder-1.5b"
    template: str | None = None


@dataclass(frozen=True)
class HumanOptions:
    """You, in the terminal.

    Attributes:
        domain: The domain you rate.
    """

    kind: Literal["human"] = "human"
    domain: str = ""


@dataclass(frozen=True)
class SimulatedExpertOptions:
    """Reads what the simulated Worker wrote.

    Attributes:
        domain: The domain it rates.
        noise: Standard deviation of its error, in rating units.
    """

    kind: Literal["simulated"] = "simulated"
    domain: str = ""
    noise: Annotated[float, Field(ge=0, le=1)] = 0.0


@dataclass(frozen=True)
class OwnExpertOptions:
    """An Expert of your own (docs/guide/own_roles.md).

    Attributes:
        domain: The domain it rates.
        object: The name of an entry point, ``package.module:object`` or ``file.py:object``. The
            object is an Expert, or makes one.
    """

    kind: Literal["own"] = "own"
    domain: str = ""
    object: str = ""


@dataclass(frozen=True)
class EnsembleOptions:
    """Several Experts of one domain as one.

    Attributes:
        domain: The domain they rate.
        members: Options of each Expert; their domain is the ensemble's.
        combine: How their ratings are combined.
        quorum: The ensemble abstains if fewer members than this give a rating.
    """

    members: tuple[
        Annotated[HeadOptions | JudgeOptions | HumanOptions | OwnExpertOptions, ByKind], ...
    ]
    kind: Literal["ensemble"] = "ensemble"
    domain: str = ""
    combine: Literal["mean", "median", "min"] = "mean"
    quorum: Positive = 1


@dataclass(frozen=True)
class NullTeacherOptions:
    """A Teacher that does nothing."""

    kind: Literal["null"] = "null"


@dataclass(frozen=True)
class OwnTeacherOptions:
    """A Teacher of your own (docs/guide/own_roles.md).

    Attributes:
        object: The name of an entry point, ``package.module:object`` or ``file.py:object``. The
            object is a Teacher, or makes one.
    """

    kind: Literal["own"] = "own"
    object: str = ""


@dataclass(frozen=True)
class SimulatedTeacherOptions:
    """Retrains the simulated Worker.

    Attributes:
        dynamics: What a retrain does to it.
        prompts: Queries that a retrain asks.
        samples: Answers to each query; the best and the worst make a pair.
    """

    kind: Literal["simulated"] = "simulated"
    dynamics: Dynamics = field(default_factory=Dynamics)
    prompts: Positive = 64
    samples: Annotated[int, Field(ge=2)] = 4


Teacher = Annotated[
    TeacherOptions | NullTeacherOptions | SimulatedTeacherOptions | OwnTeacherOptions, ByKind
]
User = Annotated[DatasetUserOptions | LlmUserOptions | OwnUserOptions, ByKind]
Expert = Annotated[
    HeadOptions
    | JudgeOptions
    | HumanOptions
    | SimulatedExpertOptions
    | OwnExpertOptions
    | EnsembleOptions,
    ByKind,
]


class OverseeConfig(BaseModel):
    """The config of ``custodes oversee``.

    Attributes:
        name: Name of the run, and of its folder under runs/.
        seed: Seeds everything that is drawn.
        steps: Number of steps; at each the User asks a batch of queries.
        worker: The model under supervision.
        user: Where queries come from.
        experts: One Expert for each domain; an empty list where Python code gives them to
            ``custodes.oversee``.
        overseer: When the Worker is sent to the Teacher.
        teacher: How it is retrained.
        instructor: How a base model is instruction-tuned before the loop, if it is.
        perturbations: What disturbs the loop, and when.
        probes: Prompts in each domain on which damage and recovery are measured, whenever the
            weights or the perturbations of queries change; the same ones each time. 0: damage is
            judged by the ratings of the steps. No human Expert is asked to rate them.
        gold: How the gold score is taken.
        control: Whether to run the loop once more with a Teacher that does nothing.
        sham: Whether to run the loop once more with a Teacher that trains on the same answers, the
            better one of two being chosen by chance.
        report_to: Where trainings report each step while they run: ``trackio`` or ``wandb``, if its
            package is installed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    seed: int = 0
    steps: Positive = 8
    worker: WorkerOptions = WorkerOptions()
    user: User = DatasetUserOptions()
    experts: tuple[Expert, ...] = tuple(HeadOptions(domain=domain) for domain in DOMAINS)
    overseer: OverseerOptions = OverseerOptions()
    teacher: Teacher = TeacherOptions()
    instructor: InstructorOptions | None = None
    perturbations: tuple[Annotated[Perturbation, ByKind], ...] = ()
    probes: Annotated[int, Field(ge=0)] = 32
    gold: GoldOptions = GoldOptions()
    control: bool = False
    sham: bool = False
    report_to: ReportTo = "none"
    _usual_thresholds: bool = PrivateAttr(default=False)

    @model_validator(mode="before")
    @classmethod
    def _usual_kinds(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        usual = {"user": DatasetUserOptions.kind, "teacher": TeacherOptions.kind}
        return {
            key: {"kind": usual[key], **value}
            if key in usual and isinstance(value, Mapping)
            else value
            for key, value in raw.items()
        }

    @model_validator(mode="after")
    def _domains_agree(self) -> Self:
        domains = [expert.domain for expert in self.experts]
        for i, domain in enumerate(domains):
            if not re.fullmatch(DOMAIN_NAME, domain):
                raise ConfigError(
                    f"experts.{i}.domain is {domain!r}",
                    f"name one of {', '.join(DOMAINS)}, or your own",
                )
            if domain in domains[:i]:
                raise ConfigError(
                    f"experts: two for {domain}", "join them as members of one ensemble"
                )
        if self.overseer.thresholds is None and domains:
            usual = replace(self.overseer, thresholds=dict.fromkeys(domains, USUAL_THRESHOLD))
            object.__setattr__(self, "overseer", usual)
            self._usual_thresholds = True
        for domain in self.overseer.thresholds or ():
            if domains and domain not in domains:
                raise ConfigError(
                    f"overseer.thresholds: no Expert rates {domain!r}", near_misses(domain, domains)
                )
        return self

    @property
    def thresholds(self) -> Mapping[str, float]:
        """The Overseer's thresholds by domain."""
        return self.overseer.thresholds or {}

    def with_experts(self, experts: Sequence[Expert]) -> Self:
        """Return the config with other Experts; thresholds that nobody gave are theirs."""
        overseer = self.overseer
        if self._usual_thresholds:
            overseer = replace(overseer, thresholds=None)
        return type(self)(**{**dict(self), "experts": tuple(experts), "overseer": overseer})
