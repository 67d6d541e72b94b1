"""The loop: ask, answer, rate, decide, retrain.

It only ever goes forward through the run's log (``EventLog.once``): what the log has is read, what
it lacks is made and written. That is all there is to resuming.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from custodes.conversation import Chat, Query, Response
from custodes.experts.abstention import require_some
from custodes.experts.expert import Expert, Rating
from custodes.models.base import Usage
from custodes.oversight.gold import GoldPanel
from custodes.oversight.perturbations.schedule import Disturbance, Schedule
from custodes.oversight.roles import Overseer, Teacher, User, Worker
from custodes.oversight.serving_check import served_control
from custodes.oversight.worker import ModelWorker
from custodes.progress import Progress
from custodes.runs.events import Event
from custodes.runs.folder import RunFolder
from custodes.runs.lineage import Checkpoint
from custodes.seeds import derive

__all__ = ["Loop", "Roles"]

BEFORE_THE_LOOP = -1
PROBES = 16
JUDGED_PAIRS = 24


class AddNoise(Protocol):
    """Puts noise on a Worker's weights, in the folder of the checkpoint that this makes."""

    def __call__(self, folder: Path, worker: Worker, sd: float, seed: int) -> Checkpoint:
        """Make the checkpoint; see `custodes.oversight.perturbations.schedule.PerturbWeights`."""
        ...


@runtime_checkable
class Probed(Protocol):
    """An Expert whose verdict on a pair may hang on the order in which it is shown."""

    name: str
    domain: str

    def order_probe(
        self, queries: Sequence[Query], a: Sequence[str], b: Sequence[str]
    ) -> dict[str, Any]:
        """Compare in both orders and return a control."""
        ...


@dataclass(frozen=True)
class Roles:
    """Everybody in a loop.

    Attributes:
        user: Asks.
        worker: Answers, to begin with.
        experts: Rate, one in each domain.
        overseer: Decides.
        teacher: Retrains.
        schedule: What disturbs them, and when.
        gold: Measures from outside.
        add_noise: How the weights are disturbed, where the schedule does so.
        instruct: Makes the first checkpoint out of the base, before the loop, if anybody does.
    """

    user: User
    worker: ModelWorker
    experts: Mapping[str, Expert]
    overseer: Overseer
    teacher: Teacher
    schedule: Schedule
    gold: GoldPanel
    add_noise: AddNoise | None = None
    instruct: Callable[[ModelWorker, Path], Checkpoint] | None = None


class Loop:
    """One run of the loop in one folder."""

    def __init__(self, run: RunFolder, roles: Roles, seed: int, progress: Progress) -> None:
        self.run, self.log, self.roles = run, run.log, roles
        self.seed, self.progress = seed, progress
        self.worker = roles.worker
        self._golds = 0

    def go(self, steps: int, start: Callable[[], Mapping[str, Any]]) -> None:
        """Run the loop to its end, or go on with it.

        Args:
            steps: How many.
            start: Describes the roles, for the log.
        """
        self.log.once("start", start)
        self.log.once("checkpoint", self.base, step=BEFORE_THE_LOOP)
        if self.roles.instruct is not None:
            self.change_worker(BEFORE_THE_LOOP, partial(self.roles.instruct, self.worker))
        self.measure_gold(BEFORE_THE_LOOP)
        self.probe_judges()
        for step in range(steps):
            self.progress("steps", step, steps)
            self.disturb_weights(step)
            answered = self.log.once("step", partial(self.answer, step), step=step)
            verdict = self.roles.overseer.review(
                step, _read_ratings(answered), self.worker.checkpoint.number
            )
            self.log.once("verdict", partial(asdict, verdict), step=step)
            if verdict.retrain is not None:
                self.retrain(step, verdict.retrain)
        self.log.once("end", dict)
        self.progress("steps", steps, steps)

    def base(self) -> dict[str, Any]:
        """Describe the Worker as it comes, and check that it is what is served."""
        described = self.worker.checkpoint.to_event(self.run.path)
        return {**described, "served": served_control(self.worker, None, self.probes())}

    # Answers and ratings

    def answer(self, step: int) -> dict[str, Any]:
        """Ask, answer and rate: the fields of a ``step`` event."""
        active = self.roles.schedule.at(step)
        with self.clock("answer", step):
            queries, responses = self.converse(step, active)
        with self.clock("rate", step):
            rated = self.rate(step, active, queries, responses)
        return {
            "checkpoint": self.worker.checkpoint.number,
            "version": self.worker.version,
            "queries": [asdict(query) for query in queries],
            "responses": [response.text for response in responses],
            "ratings": rated,
            "perturbed": active.changed,
        }

    def converse(self, step: int, active: Disturbance) -> tuple[list[Query], list[Response]]:
        """Let the User and the Worker talk; the last answers are the ones to rate."""
        user = active.user(self.roles.user)
        queries = active.queries(user.ask(step))
        responses = self.worker.respond(queries, derive(self.seed, "respond", step, 0))
        for turn in range(1, user.turns):
            queries = active.queries(user.follow_up(step, queries, responses))
            responses = self.worker.respond(queries, derive(self.seed, "respond", step, turn))
        return queries, responses

    def rate(
        self,
        step: int,
        active: Disturbance,
        queries: Sequence[Query],
        responses: Sequence[Response],
    ) -> dict[str, Any]:
        """Have each domain's Expert rate the answers to its domain's queries."""
        if not self.roles.overseer.wants_ratings(step):
            return {}
        rated = {}
        for domain, expert in self.roles.experts.items():
            mine = [i for i, query in enumerate(queries) if query.domain == domain]
            clean = expert.rate([queries[i] for i in mine], [responses[i].text for i in mine])
            require_some(expert, clean)
            seen = active.ratings(expert.name, domain, clean)
            rated[domain] = {
                "queries": mine,
                "values": [rating.value for rating in seen],
                "clean": [rating.value for rating in clean],
                "reasons": {str(i): r.reason for i, r in zip(mine, clean, strict=True) if r.reason},
            }
        return rated

    # Changes of the weights

    def retrain(self, step: int, domain: str) -> None:
        """Send the Worker to the Teacher."""
        active = self.roles.schedule.at(step)
        self.change_worker(
            step,
            lambda folder: self.roles.teacher.retrain(
                self.worker, domain, step, folder, active.pairs
            ),
            active,
        )

    def disturb_weights(self, step: int) -> None:
        """Put noise on the weights where the schedule has it for this step."""
        active = self.roles.schedule.at(step)

        def make(folder: Path) -> Checkpoint:
            assert self.roles.add_noise is not None
            made = active.weights(self.worker, partial(self.roles.add_noise, folder))
            assert made is not None
            return made

        if active.disturbs_weights:
            self.change_worker(step, make, active)

    def change_worker(
        self, step: int, make: Callable[[Path], Checkpoint], active: Disturbance | None = None
    ) -> None:
        """Swap in a new checkpoint, check that it is what is served, and measure it."""
        before, after = self.worker, None
        number = before.checkpoint.number + 1

        def fields() -> dict[str, Any]:
            nonlocal after
            with self.clock("retrain", step):
                made = make(self.run.checkpoint_folder(number))
            if made == before.checkpoint:
                made = replace(made, intervention="nothing", metrics={"weights_moved": 0.0})
            after = before.at(replace(made, number=number, parent=before.checkpoint.number))
            with self.clock("export", step):
                served = served_control(after, before, self.probes())
            return {
                **after.checkpoint.to_event(self.run.path),
                "served": served,
                "perturbed": active.changed if active else {},
            }

        event = self.log.once("checkpoint", fields, step=step)
        self.worker = after or before.at(Checkpoint.from_event(event, self.run.path))
        self.measure_gold(step)

    def measure_gold(self, step: int) -> None:
        """Take the gold score of the Worker as it is."""

        def fields() -> dict[str, Any]:
            with self.clock("gold", step):
                domains = self.roles.gold.measure(self.worker, self._golds)
            return {"checkpoint": self.worker.checkpoint.number, "domains": domains}

        self.log.once("gold", fields, step=step)
        self._golds += 1

    def probe_judges(self) -> None:
        """Show LLM judges pairs in both orders, to see whether they mean the answers."""
        judges = [e for e in self.roles.experts.values() if isinstance(e, Probed)]
        if judges:
            self.log.once("probe", lambda: {"experts": [self.probe(judge) for judge in judges]})

    def probe(self, judge: Probed) -> dict[str, Any]:
        """Let a judge compare two answers to each of some queries of its domain."""
        queries = list(self.roles.gold.queries.get(judge.domain, ()))[:JUDGED_PAIRS]
        pairs = self.worker.samples(queries, 2, derive(self.seed, "probe", judge.domain))
        with self.clock("probe", BEFORE_THE_LOOP):
            control = judge.order_probe(queries, [a for a, _ in pairs], [b for _, b in pairs])
        return {"name": judge.name, "domain": judge.domain, "report": {"controls": [control]}}

    def probes(self) -> list[Chat]:
        """Chats on which the served weights are compared with torch's."""
        queries = [query for domain in self.roles.gold.queries.values() for query in domain]
        chosen = queries[:: max(1, len(queries) // PROBES)][:PROBES]
        return [query.chat for query in chosen]

    # What it cost

    @contextmanager
    def clock(self, stage: str, step: int) -> Iterator[None]:
        """Note the time and tokens of a stage, apart from the events."""
        began, before = time.monotonic(), self.usage()
        self.progress(stage, 0, 1)
        yield
        spent = asdict(self.usage().since(before)) | {"seconds": time.monotonic() - began}
        self.run.clock(stage, spent.pop("seconds"), step=step, **spent)
        self.progress(stage, 1, 1)

    def usage(self) -> Usage:
        """Add up what everybody has spent."""
        meters = [self.worker, self.roles.user, *self.roles.experts.values()]
        return Usage.sum(m.usage for m in meters if hasattr(m, "usage"))


def _read_ratings(event: Event) -> dict[str, list[Rating]]:
    return {
        domain: [Rating(value) for value in given["values"]]
        for domain, given in event["ratings"].items()
    }
