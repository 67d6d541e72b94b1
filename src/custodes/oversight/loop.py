"""The loop: ask, answer, rate, decide, retrain.

It only ever goes forward through the run's log (`custodes.oversight.log.OversightLog`): what the
log has is read, what it lacks is made and written. Nothing more is needed to resume a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from custodes.control import Control
from custodes.conversation import Chat, Query, Response
from custodes.experts.abstention import require_some
from custodes.experts.expert import Expert
from custodes.models.base import Usage
from custodes.oversight.controls.audit import audit
from custodes.oversight.controls.serving import serving_check
from custodes.oversight.controls.unseen import gold_unseen_in_training
from custodes.oversight.events import (
    AuditEvent,
    CheckpointEvent,
    DomainRatings,
    EndEvent,
    GoldEvent,
    LevelEvent,
    OrderProbe,
    ProbeEvent,
    StartEvent,
    StepEvent,
    VerdictEvent,
)
from custodes.oversight.gold.panel import Panel
from custodes.oversight.gold.score import GoldPanel
from custodes.oversight.log import History, OversightLog
from custodes.oversight.perturbations.effects import Disturbed, Effects, shares
from custodes.oversight.perturbations.schedule import Disturbance, Schedule
from custodes.oversight.roles import Overseer, Teacher, User, Worker
from custodes.oversight.worker import ModelWorker
from custodes.progress import Progress
from custodes.runs.folder import RunFolder
from custodes.runs.lineage import Checkpoint
from custodes.seeds import derive

__all__ = ["BEFORE_THE_LOOP", "Loop", "Roles"]

BEFORE_THE_LOOP = -1
AFTER_THE_LOOP = -2
PROBES = 16
JUDGED_PAIRS = 24


class AddNoise(Protocol):
    """Puts noise on a Worker's weights, in the folder of the checkpoint that this makes."""

    def __call__(self, folder: Path, worker: Worker, sd: float, seed: int) -> Checkpoint:
        """Make the checkpoint; see `custodes.oversight.perturbations.schedule.PerturbWeights`."""
        ...


@runtime_checkable
class Probed(Protocol):
    """An Expert whose verdict on a pair may depend on the order in which it is shown."""

    name: str
    domain: str

    def order_probe(self, queries: Sequence[Query], a: Sequence[str], b: Sequence[str]) -> Control:
        """Compare pairs in both orders and return the control."""
        ...


@dataclass(frozen=True)
class Roles:
    """Everybody in a loop.

    Attributes:
        user: Asks the queries.
        worker: Answers them; the Worker before the first step.
        experts: Rate the answers, one Expert in each domain.
        make_overseer: Makes the Overseer. A loop begins with a fresh one, since it remembers the
            run it oversees.
        teacher: Retrains the Worker.
        schedule: The perturbations.
        gold: Takes the gold score.
        panel: Measures what the gold score does not show, if given.
        add_noise: Disturbs the weights, where the schedule has that.
        instruct: Makes the first checkpoint from the base model before the loop, if given.
        probes: By domain, the prompts on which damage by perturbations is measured.
    """

    user: User
    worker: ModelWorker
    experts: Mapping[str, Expert]
    make_overseer: Callable[[], Overseer]
    teacher: Teacher
    schedule: Schedule
    gold: GoldPanel
    panel: Panel | None = None
    add_noise: AddNoise | None = None
    instruct: Callable[[ModelWorker, Path], Checkpoint] | None = None
    probes: Mapping[str, Sequence[Query]] = field(default_factory=dict)


class Loop:
    """One run of the loop in one folder.

    Args:
        folder: The run's folder.
        roles: Everybody in the loop.
        seed: Derives every draw of the loop itself.
        progress: Called with each stage.
    """

    def __init__(self, folder: RunFolder, roles: Roles, seed: int, progress: Progress) -> None:
        self.folder, self.log = folder, OversightLog(folder.log)
        self.roles, self.seed, self.progress = roles, seed, progress
        self.worker, self.overseer = roles.worker, roles.make_overseer()
        self._gold_scores = 0
        self._measured: tuple[int, tuple[str, ...]] | None = None

    def run(self, steps: int, start: Callable[[], StartEvent]) -> None:
        """Run the loop to its end, or continue it.

        Args:
            steps: Number of steps.
            start: Describes the roles, for the log.
        """
        self.begin(start)
        for step in range(steps):
            self.progress("steps", step, steps)
            self.disturb_weights(step)
            self.measure_level(step)
            event = self.log.once(StepEvent, partial(self.answer, step), step=step)
            ratings = {domain: given.seen for domain, given in event.ratings.items()}
            verdict = self.overseer.review(step, ratings, self.worker.checkpoint.number)
            self.log.once(VerdictEvent, partial(VerdictEvent.of, step, verdict), step=step)
            if verdict.retrain is not None:
                self.retrain(step, verdict.retrain)
        self.log.once(AuditEvent, self.audit)
        self.log.once(EndEvent, EndEvent)
        self.progress("steps", steps, steps)

    def begin(self, start: Callable[[], StartEvent]) -> None:
        """Describe and measure everybody before the first step."""
        if self.log.replay(StartEvent) is None:
            # Neither is written before the Worker has answered: a model that cannot be served has
            # started no run.
            description, base = start(), self.describe_base()
            self.log.append(description)
            self.log.append(base, step=BEFORE_THE_LOOP)
        else:
            self.log.once(CheckpointEvent, self.describe_base, step=BEFORE_THE_LOOP)
        self.measure_gold(BEFORE_THE_LOOP)
        if self.roles.instruct is not None:
            instruct = partial(self.roles.instruct, self.worker)
            self.change_worker(BEFORE_THE_LOOP, lambda folder: Disturbed(instruct(folder)))
        self.probe_judges()
        self.measure_level(BEFORE_THE_LOOP)

    def describe_base(self) -> CheckpointEvent:
        """Describe the Worker before any training, and check that it is what is served."""
        served = serving_check(self.worker, None, self.probe_chats())
        return CheckpointEvent.of(
            self.worker.checkpoint, self.folder.path, BEFORE_THE_LOOP, served=served
        )

    # Answers and ratings

    def answer(self, step: int) -> StepEvent:
        """Ask, answer and rate."""
        active = self.roles.schedule.at(step)
        with self.clock("answer", step):
            queries, responses, disturbed = self.converse(step, active)
        with self.clock("rate", step):
            ratings, biased = self.rate(step, active, queries, responses)
        return StepEvent(
            step=step,
            checkpoint=self.worker.checkpoint.number,
            version=self.worker.version,
            queries=tuple(queries),
            responses=tuple(response.text for response in responses),
            ratings=ratings,
            perturbed=shares(active.active, [*disturbed, *biased]),
        )

    def converse(
        self, step: int, active: Disturbance
    ) -> tuple[list[Query], list[Response], list[Effects]]:
        """Let the User and the Worker talk; the last answers are the ones to rate."""
        user = active.user(self.roles.user)
        queries = active.queries(user.value.ask(step))
        effects = [user.effects, queries.effects]
        responses = self.worker.respond(queries.value, derive(self.seed, "respond", step, 0))
        for turn in range(1, user.value.turns):
            queries = active.queries(user.value.follow_up(step, queries.value, responses))
            effects.append(queries.effects)
            responses = self.worker.respond(queries.value, derive(self.seed, "respond", step, turn))
        return queries.value, responses, effects

    def rate(
        self,
        step: int,
        active: Disturbance,
        queries: Sequence[Query],
        responses: Sequence[Response],
    ) -> tuple[dict[str, DomainRatings], list[Effects]]:
        """Have each domain's Expert rate the answers to its domain's queries."""
        if not self.overseer.wants_ratings(step):
            return {}, []
        ratings, effects = {}, []
        for domain, expert in self.roles.experts.items():
            own = [i for i, query in enumerate(queries) if query.domain == domain]
            clean = expert.rate([queries[i] for i in own], [responses[i].text for i in own])
            require_some(expert, clean)
            seen = active.ratings(expert.name, domain, clean)
            effects.append(seen.effects)
            ratings[domain] = DomainRatings(
                queries=tuple(own), seen=tuple(seen.value), clean=tuple(clean)
            )
        return ratings, effects

    # Changes of the weights

    def retrain(self, step: int, domain: str) -> None:
        """Send the Worker to the Teacher."""
        active, teacher, worker = self.roles.schedule.at(step), self.roles.teacher, self.worker

        def train(folder: Path) -> Disturbed[Checkpoint]:
            data = teacher.gather(worker, domain, step, folder)
            pairs = active.pairs(domain, data.pairs)
            checkpoint = teacher.train(worker, domain, step, folder, data, pairs.value)
            unseen = gold_unseen_in_training(pairs.value, self.roles.gold.queries).to_dict()
            controls = [*checkpoint.metrics.get("controls", ()), unseen]
            metrics = {**checkpoint.metrics, "controls": controls}
            if checkpoint != worker.checkpoint:
                checkpoint = replace(checkpoint, metrics=metrics)
            return Disturbed(checkpoint, pairs.effects)

        self.change_worker(step, train, active)

    def disturb_weights(self, step: int) -> None:
        """Put noise on the weights where the schedule has it for this step."""
        active = self.roles.schedule.at(step)

        def disturb(folder: Path) -> Disturbed[Checkpoint]:
            assert self.roles.add_noise is not None
            noisy = active.weights(self.worker, partial(self.roles.add_noise, folder))
            assert noisy is not None
            return noisy

        if active.disturbs_weights:
            self.change_worker(step, disturb, active)

    def change_worker(
        self,
        step: int,
        make: Callable[[Path], Disturbed[Checkpoint]],
        active: Disturbance | None = None,
    ) -> None:
        """Go on with a new checkpoint, check that it is what is served, and measure it.

        Args:
            step: The step after or before which the weights change.
            make: Makes the checkpoint in the folder that it is given.
            active: The perturbations of the step.
        """
        before = self.worker
        event = self.log.replay(CheckpointEvent, step=step)
        if event is not None:
            self.worker = self.worker.at(event.to_checkpoint(self.folder.path))
        else:
            self.worker, event = self.make_worker(step, make, active)
            self.log.append(event, step=step)
        before.release()
        self.measure_gold(step)

    def make_worker(
        self,
        step: int,
        make: Callable[[Path], Disturbed[Checkpoint]],
        active: Disturbance | None,
    ) -> tuple[ModelWorker, CheckpointEvent]:
        """Make a checkpoint; return the Worker that has it, and the event that describes it."""
        parent = self.worker.checkpoint
        number = parent.number + 1
        with self.clock("retrain", step):
            disturbed = make(self.folder.checkpoint_folder(number))
        checkpoint = disturbed.value
        if checkpoint == parent:
            checkpoint = replace(checkpoint, intervention="nothing", metrics={"weights_moved": 0.0})
        worker = self.worker.at(replace(checkpoint, number=number, parent=parent.number))
        with self.clock("export", step):
            served = serving_check(worker, self.worker, self.probe_chats())
        perturbed = shares(active.active, [disturbed.effects]) if active else {}
        event = CheckpointEvent.of(worker.checkpoint, self.folder.path, step, served, perturbed)
        return worker, event

    # Measurements

    def measure_gold(self, step: int) -> None:
        """Take the gold score of the Worker's current checkpoint, and its panel."""

        def measure() -> GoldEvent:
            with self.clock("gold", step):
                gold, draw = self.roles.gold, self._gold_scores
                domains = gold.measure(self.worker, draw)
            panel = {}
            if self.roles.panel is not None:
                with self.clock("panel", step):
                    panel = self.roles.panel.measure(self.worker, gold.queries, domains, draw)
            return GoldEvent(step, self.worker.checkpoint.number, domains, panel)

        self.log.once(GoldEvent, measure, step=step)
        self._gold_scores += 1

    def measure_level(self, step: int) -> None:
        """Rate answers to the probe prompts, where something changed that they depend on.

        That is the weights, and perturbations of queries; clean ratings depend on no other.
        """
        if not self.roles.probes or not self.roles.schedule.named:
            return
        active = self.roles.schedule.at(step)
        state = (self.worker.checkpoint.number, active.changing_queries)
        if state == self._measured:
            return
        self._measured = state

        def measure() -> LevelEvent:
            ratings: dict[str, dict[str, float]] = {}
            with self.clock("level", step):
                for domain, probes in self.roles.probes.items():
                    queries = active.queries(probes).value
                    seed = derive(self.seed, "level", domain, step)
                    texts = [response.text for response in self.worker.respond(queries, seed)]
                    rated = self.roles.experts[domain].rate(queries, texts)
                    ratings[domain] = {
                        query.id: rating.value
                        for query, rating in zip(queries, rated, strict=True)
                        if rating.value is not None
                    }
            return LevelEvent(step, *state, ratings)

        self.log.once(LevelEvent, measure, step=step)

    def audit(self) -> AuditEvent:
        """Examine the Experts and the User again, now that there is something to compare with."""
        history = History.of(self.folder.log.events)
        with self.clock("audit", AFTER_THE_LOOP):
            controls = audit(self.roles, history)
        return AuditEvent(tuple(controls))

    def probe_judges(self) -> None:
        """Show LLM judges pairs in both orders, to see whether the order decides."""
        judges = [e for e in self.roles.experts.values() if isinstance(e, Probed)]
        if judges:
            self.log.once(ProbeEvent, lambda: ProbeEvent(tuple(map(self.probe, judges))))

    def probe(self, judge: Probed) -> OrderProbe:
        """Let a judge compare two answers to each of some queries of its domain."""
        queries = list(self.roles.gold.queries.get(judge.domain, ()))[:JUDGED_PAIRS]
        if not queries:
            control = Control.not_tested("order-swap", f"{judge.domain} has no gold prompts")
            return OrderProbe(name=judge.name, domain=judge.domain, control=control)
        pairs = self.worker.samples(queries, 2, derive(self.seed, "probe", judge.domain))
        with self.clock("probe", BEFORE_THE_LOOP):
            control = judge.order_probe(queries, [a for a, _ in pairs], [b for _, b in pairs])
        return OrderProbe(name=judge.name, domain=judge.domain, control=control)

    def probe_chats(self) -> list[Chat]:
        """Return the chats on which the served weights are compared with torch's."""
        queries = [query for domain in self.roles.gold.queries.values() for query in domain]
        chosen = queries[:: max(1, len(queries) // PROBES)][:PROBES]
        return [query.chat for query in chosen]

    # Cost

    @contextmanager
    def clock(self, stage: str, step: int) -> Iterator[None]:
        """Note the time and tokens of a stage, apart from the events."""
        began, before = time.monotonic(), self.usage()
        self.progress(stage, 0, 1)
        yield
        spent = asdict(self.usage().since(before)) | {"seconds": time.monotonic() - began}
        self.folder.clock(stage, spent.pop("seconds"), step=step, **spent)
        self.progress(stage, 1, 1)

    def usage(self) -> Usage:
        """Add up the usage of everybody who counts it."""
        meters = [self.worker, self.roles.user, *self.roles.experts.values()]
        return Usage.sum(meter.usage for meter in meters if hasattr(meter, "usage"))
