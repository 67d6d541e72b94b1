"""The events of an overseen run, and the one codec between them and the lines of its log.

`custodes.runs.events.EventLog` keeps lines; this file says what is in them. A line holds the fields
of one of the dataclasses below under the same names. One thing is stored otherwise: ratings are
columns (``values``, ``clean``, ``reasons``), since a log holds many of them.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

from custodes.control import Control
from custodes.conversation import Query
from custodes.errors import RunError
from custodes.experts.expert import Rating
from custodes.oversight.controls.serving import ServingCheck
from custodes.oversight.gold.panel import Quantity
from custodes.oversight.gold.score import GoldMeasurement
from custodes.oversight.roles import Evidence, Verdict
from custodes.runs.events import Event
from custodes.runs.lineage import Checkpoint

__all__ = [
    "AuditEvent",
    "CheckpointEvent",
    "DomainRatings",
    "EndEvent",
    "ExpertCard",
    "GoldCard",
    "GoldEvent",
    "GoldPrompt",
    "LevelEvent",
    "OrderProbe",
    "OversightEvent",
    "PlannedPerturbation",
    "ProbeEvent",
    "StartEvent",
    "StepEvent",
    "VerdictEvent",
    "WorkerCard",
    "decode",
    "encode",
]


@dataclass(frozen=True)
class WorkerCard:
    """The Worker at the start of a run."""

    name: str
    engine: str
    version: str


@dataclass(frozen=True)
class ExpertCard:
    """One of the loop's Experts and what it reports of itself."""

    name: str
    domain: str
    version: str
    report: Mapping[str, Any]

    @property
    def controls(self) -> list[Control]:
        """The controls that the Expert carries."""
        return [Control.from_dict(row) for row in self.report.get("controls", ())]


@dataclass(frozen=True)
class GoldCard:
    """How a domain's gold score is taken.

    Attributes:
        expert: Name of the Expert that scores.
        version: Its version.
        expert_in_loop: Whether it is one of the loop's Experts.
        prompts: Number of gold prompts.
        shared_prompts: How many of them the loop's User may ask as well.
    """

    expert: str
    version: str
    expert_in_loop: bool
    prompts: int
    shared_prompts: int


@dataclass(frozen=True)
class GoldPrompt:
    """A gold prompt by its id; ``topic`` is "" where it has none."""

    id: str
    text: str
    topic: str = ""


@dataclass(frozen=True)
class PlannedPerturbation:
    """A perturbation of the config: active from step ``at`` until before step ``until``."""

    name: str
    kind: str
    at: int
    until: int | None


@dataclass(frozen=True)
class StartEvent:
    """Who takes part in the run, and what is planned."""

    kind: ClassVar[str] = "start"
    worker: WorkerCard
    experts: tuple[ExpertCard, ...] = ()
    gold: Mapping[str, GoldCard] = field(default_factory=dict)
    gold_prompts: tuple[GoldPrompt, ...] = ()
    perturbations: tuple[PlannedPerturbation, ...] = ()


@dataclass(frozen=True)
class CheckpointEvent:
    """New weights; the first event of the kind describes the base model.

    Attributes:
        step: The step after or before which they were made; -1 before the loop.
        checkpoint: Number of the checkpoint.
        adapter: Its folder, relative to the run's; None for the base model.
        parent: Number of the checkpoint it was made from.
        intervention: What made it.
        metrics: What its making measured, JSON-ready.
        served: Whether the serving engine has the weights; None where nobody looked.
        perturbed: By perturbation, the share of what it was shown that it changed, in [0, 1].
    """

    kind: ClassVar[str] = "checkpoint"
    step: int
    checkpoint: int
    adapter: str | None
    parent: int | None
    intervention: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    served: ServingCheck | None = None
    perturbed: Mapping[str, float] = field(default_factory=dict)

    @staticmethod
    def of(
        checkpoint: Checkpoint,
        folder: Path,
        step: int,
        served: ServingCheck,
        perturbed: Mapping[str, float] | None = None,
    ) -> CheckpointEvent:
        """Describe a checkpoint of the run in ``folder``."""
        return CheckpointEvent(
            step=step,
            served=served,
            perturbed=dict(perturbed or {}),
            **checkpoint.to_event(folder),
        )

    def to_checkpoint(self, folder: Path) -> Checkpoint:
        """Return the checkpoint, its adapter being in the run's ``folder``."""
        return Checkpoint(
            number=self.checkpoint,
            adapter=None if self.adapter is None else folder / self.adapter,
            parent=self.parent,
            intervention=self.intervention,
            metrics=self.metrics,
        )

    @property
    def controls(self) -> list[Control]:
        """The controls of its making."""
        return [Control.from_dict(row) for row in self.metrics.get("controls", ())]


@dataclass(frozen=True)
class GoldEvent:
    """The gold score of a checkpoint, by domain.

    Attributes:
        step: The step after or before which it was taken; -1 before the loop.
        checkpoint: Number of the checkpoint.
        domains: The scores, by domain.
        panel: What was measured beside them, by name of the quantity; empty where nothing was
            (`custodes.oversight.gold.panel`).
    """

    kind: ClassVar[str] = "gold"
    step: int
    checkpoint: int
    domains: Mapping[str, GoldMeasurement]
    panel: Mapping[str, Quantity] = field(default_factory=dict)


@dataclass(frozen=True)
class OrderProbe:
    """What a judge did with pairs that it was shown in both orders."""

    name: str
    domain: str
    control: Control


@dataclass(frozen=True)
class ProbeEvent:
    """The order-swap controls of the LLM judges."""

    kind: ClassVar[str] = "probe"
    probes: tuple[OrderProbe, ...]


@dataclass(frozen=True)
class DomainRatings:
    """One domain's ratings at a step.

    Attributes:
        queries: Positions of the rated queries within the step.
        seen: The ratings that the Overseer sees, one for each of those queries.
        clean: The ratings before any perturbation.
    """

    queries: tuple[int, ...]
    seen: tuple[Rating, ...]
    clean: tuple[Rating, ...]


@dataclass(frozen=True)
class StepEvent:
    """What was asked, answered and rated at a step.

    Attributes:
        step: Counted from 0.
        checkpoint: Number of the checkpoint that answered.
        version: Version of the serving model.
        queries: What the User asked, wrapped where a jailbreak wrapped it.
        responses: The Worker's answers, untrusted.
        ratings: By domain; empty where nobody rated.
        perturbed: By active perturbation, the share of what it was shown that it changed.
    """

    kind: ClassVar[str] = "step"
    step: int
    checkpoint: int
    version: str
    queries: tuple[Query, ...]
    responses: tuple[str, ...]
    ratings: Mapping[str, DomainRatings]
    perturbed: Mapping[str, float]


@dataclass(frozen=True)
class LevelEvent:
    """The clean ratings of the probe prompts, from a step on (`perturbations.levels`).

    Attributes:
        step: First step that they hold for; -1 before the loop.
        checkpoint: Number of the checkpoint that answered.
        active: The perturbations of queries that were active, by name.
        ratings: By domain and prompt id; prompts on which the Expert abstained are missing.
    """

    kind: ClassVar[str] = "level"
    step: int
    checkpoint: int
    active: tuple[str, ...]
    ratings: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class VerdictEvent:
    """What the Overseer decided after a step; the fields are those of `Verdict`."""

    kind: ClassVar[str] = "verdict"
    step: int
    intercept: bool
    retrain: str | None
    evidence: Mapping[str, Evidence]

    @staticmethod
    def of(step: int, verdict: Verdict) -> VerdictEvent:
        """Note a verdict."""
        return VerdictEvent(
            step=step,
            intercept=verdict.intercept,
            retrain=verdict.retrain,
            evidence=verdict.evidence,
        )

    @property
    def verdict(self) -> Verdict:
        """The verdict that was noted."""
        return Verdict(intercept=self.intercept, retrain=self.retrain, evidence=self.evidence)


@dataclass(frozen=True)
class AuditEvent:
    """What the Experts and the User showed when they were examined after the last step."""

    kind: ClassVar[str] = "audit"
    controls: tuple[Control, ...]


@dataclass(frozen=True)
class EndEvent:
    """The run is complete."""

    kind: ClassVar[str] = "end"


OversightEvent = (
    StartEvent
    | CheckpointEvent
    | GoldEvent
    | ProbeEvent
    | StepEvent
    | LevelEvent
    | VerdictEvent
    | AuditEvent
    | EndEvent
)

KINDS: dict[str, type[OversightEvent]] = {cls.kind: cls for cls in get_args(OversightEvent)}


# The codec


def encode(event: OversightEvent) -> dict[str, Any]:
    """Return an event's fields, JSON-ready, without its kind."""
    row = _to_json(event)
    assert isinstance(row, dict)
    return row


def decode(row: Event) -> OversightEvent:
    """Read an event of the log.

    Raises:
        RunError: It is no event of an overseen run, or lacks a field.
    """
    try:
        event: OversightEvent = _from_json(KINDS[row["kind"]], row)
        return event
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"line {row.get('i', -1) + 1} of the log is no event of an overseen run "
            f"({type(error).__name__}: {error})",
            "it was written by other code; start a new run with another --out",
        ) from error


def _to_json(value: Any) -> Any:
    if isinstance(value, DomainRatings):
        return {
            "queries": list(value.queries),
            "values": [rating.value for rating in value.seen],
            "clean": [rating.value for rating in value.clean],
            "reasons": {
                str(query): rating.reason
                for query, rating in zip(value.queries, value.clean, strict=True)
                if rating.reason
            },
        }
    if is_dataclass(value):
        return {field.name: _to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _to_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(inner) for inner in value]
    return value


def _from_json(hint: Any, value: Any) -> Any:
    """Turn JSON into a value of the type that an annotation names."""
    if hint is DomainRatings:
        return _ratings(value)
    if isinstance(hint, type) and is_dataclass(hint):
        known = {
            name: _from_json(inner, value[name])
            for name, (inner, optional) in _hints(hint).items()
            if name in value or not optional
        }
        return hint(**known)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not type(None))
        return None if value is None else _from_json(inner, value)
    if origin is tuple:
        return tuple(_from_json(arguments[0], inner) for inner in value)
    if origin is Mapping or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return {key: _from_json(arguments[1], inner) for key, inner in value.items()}
    return value


@cache
def _hints(cls: type) -> dict[str, tuple[Any, bool]]:
    """Map each field to its type, and to whether it has a default."""
    hints = get_type_hints(cls)
    return {
        f.name: (hints[f.name], f.default is not MISSING or f.default_factory is not MISSING)
        for f in fields(cls)
    }


def _ratings(row: Mapping[str, Any]) -> DomainRatings:
    reasons = [row["reasons"].get(str(query), "") for query in row["queries"]]
    seen, clean = (
        tuple(Rating(value, reason) for value, reason in zip(row[key], reasons, strict=True))
        for key in ("values", "clean")
    )
    return DomainRatings(queries=tuple(row["queries"]), seen=seen, clean=clean)
