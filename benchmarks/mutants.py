"""The damages of benchmarks/mutations.py: each replaces one function of the package by a wrong one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import numpy as np

from custodes.experts.expert import Rating
from custodes.experts.null import SimulatedExpert
from custodes.oversight import build, run
from custodes.oversight.controls import teaching
from custodes.oversight.gold import GoldPanel, SimulatedScorer, gold_change
from custodes.oversight.loop import Loop
from custodes.oversight.overseer import ThresholdOverseer
from custodes.oversight.perturbations.schedule import Disturbance
from custodes.oversight.roles import Verdict
from custodes.oversight.teachers.simulated import SimulatedTeacher
from custodes.oversight.users.dataset import DatasetUser
from custodes.oversight.worker import ModelWorker

Plant = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Mutant:
    """A damage.

    Attributes:
        name: What is done.
        part: The part that is damaged.
        plant: Makes the context in which it is.
        names: Parts of the names of controls that name the damaged part.
        config: Keys of the config that it needs.
    """

    name: str
    part: str
    plant: Plant
    names: tuple[str, ...]
    config: dict[str, Any] = field(default_factory=dict)

    def planted(self) -> AbstractContextManager[Any]:
        return self.plant()

    def named_by(self, red: Sequence[str], error: str) -> list[str]:
        """Return the failed controls that name the part; an error that stops the run names it."""
        return [n for n in red if any(part in n for part in self.names)] or (
            [error] if error else []
        )


def patched(target: Any, name: str, make: Callable[[Any], Any]) -> Plant:
    """Replace a function by what ``make`` makes of it."""

    @contextmanager
    def plant() -> Any:
        with patch.object(target, name, make(getattr(target, name))):
            yield

    return plant


def both(*plants: Plant) -> Plant:
    @contextmanager
    def plant() -> Any:
        with ExitStack() as stack:
            for one in plants:
                stack.enter_context(one())
            yield

    return plant


# Experts


def expert(change: Callable[[SimulatedExpert, Any, Any, list[Rating]], list[Rating]]) -> Plant:
    def make(original: Any) -> Any:
        def rate(self: SimulatedExpert, queries: Any, responses: Any) -> list[Rating]:
            if self.name == "simulated" and self.noise == 0:  # that of the gold score
                return original(self, queries, responses)  # type: ignore[no-any-return]
            return change(self, queries, responses, original(self, queries, responses))

        return rate

    return patched(SimulatedExpert, "rate", make)


def each(change: Callable[[float, int], float]) -> Plant:
    return expert(
        lambda _s, _q, _r, ratings: [
            Rating(min(1.0, max(0.0, change(r.value or 0.0, i)))) for i, r in enumerate(ratings)
        ]
    )


rng = np.random.default_rng(0)
calls = {"n": 0}


def drifting(value: float, _i: int) -> float:
    calls["n"] += 1
    return value - calls["n"] / 2000


def other_domain(self: Any, queries: Any, responses: Any, _ratings: Any) -> list[Rating]:
    from custodes.models.simulated import read_levels

    levels = [read_levels(text) or (0.5, 0.5) for text in responses]
    return [Rating(1 - b if self.domain == "helpfulness" else a) for a, b in levels]


EXPERTS = ("Expert agrees", "Expert orders", "Expert speaks", "ratings are reproducible", "Expert")
TEACHER = ("gold score follows", "training beats a sham", "weights moved", "something to learn",
           "gold score holds", "answers change")  # fmt: skip
OVERSEER = ("Overseer", "verdicts", "intercepts", "budget", "checkpoints follow")
LOOP = ("ratings", "steps", "checkpoints", "verdicts", "answers change")
GOLD = ("gold",)

_MUTANTS = [
    Mutant("ratings are 1 - v", "Expert", each(lambda v, _: 1 - v), EXPERTS),
    Mutant(
        "ratings are 1 - v in one domain",
        "Expert",
        expert(
            lambda s, _q, _r, x: (
                [Rating(1 - (r.value or 0)) for r in x] if s.domain == "harmlessness" else x
            )
        ),
        EXPERTS,
    ),
    Mutant("ratings are constant", "Expert", each(lambda _v, _i: 0.45), EXPERTS),
    Mutant("ratings are random", "Expert", each(lambda _v, _i: float(rng.random())), EXPERTS),
    Mutant(
        "ratings are shifted by one", "Expert", expert(lambda _s, _q, _r, x: x[1:] + x[:1]), EXPERTS
    ),
    Mutant(
        "ratings are in reverse order", "Expert", expert(lambda _s, _q, _r, x: x[::-1]), EXPERTS
    ),
    Mutant("the other domain is rated", "Expert", expert(other_domain), EXPERTS),
    Mutant(
        "two thirds of the answers get no rating",
        "Expert",
        expert(lambda _s, _q, _r, x: [r if i % 3 == 0 else Rating(None) for i, r in enumerate(x)]),
        EXPERTS,
    ),
    Mutant("ratings sink from call to call", "Expert", each(drifting), EXPERTS),
    Mutant(
        "ratings follow the length of the query",
        "Expert",
        expert(lambda _s, q, _r, _x: [Rating(min(1, len(one.text) / 80)) for one in q]),
        EXPERTS,
    ),
    Mutant(
        "the first rating is given to all",
        "Expert",
        expert(lambda _s, _q, _r, x: x[:1] * len(x)),
        EXPERTS,
    ),
    Mutant(
        "good and bad are told apart, and the best are punished",
        "Expert",
        each(lambda v, _: v if v < 0.5 else 1 - v),
        EXPERTS,
    ),
]


# Teacher


def swapped(original: Any) -> Any:
    def gather(self: Any, *args: Any) -> Any:
        data = original(self, *args)
        return replace(data, by_domain={
            name: replace(own, pairs=[replace(p, chosen=p.rejected, rejected=p.chosen)
                                      for p in own.pairs])
            for name, own in data.by_domain.items()
        })  # fmt: skip

    return gather


def half_swapped(original: Any) -> Any:
    def gather(self: Any, *args: Any) -> Any:
        data = original(self, *args)
        return replace(data, by_domain={
            name: replace(own, pairs=[replace(p, chosen=p.rejected, rejected=p.chosen)
                                      if i % 2 else p for i, p in enumerate(own.pairs)])
            for name, own in data.by_domain.items()
        })  # fmt: skip

    return gather


def state_after(change: Callable[[Any, Any, str], Any]) -> Plant:
    """Replace the dynamics of training: (before, after, domain) → after."""
    from custodes.oversight.teachers import simulated

    def make(original: Any) -> Any:
        def next_state(before: Any, domain: str, *args: Any) -> Any:
            return change(before, original(before, domain, *args), domain)

        return next_state

    return patched(simulated, "next_state", make)


def other(domain: str) -> str:
    return "helpfulness" if domain == "harmlessness" else "harmlessness"


def wrong_domain(original: Any) -> Any:
    def next_state(before: Any, domain: str, *args: Any) -> Any:
        return original(before, other(domain), *args)

    return next_state


def costly(before: Any, after: Any, domain: str) -> Any:
    if domain == "harmlessness":
        return replace(after, helpful=max(0.02, after.helpful * 0.3))
    return replace(after, harmful=min(0.98, after.harmful + 0.4))


def claiming(original: Any) -> Any:
    def train(self: Any, worker: Any, *args: Any) -> Any:
        made = original(self, worker, *args)
        return replace(made, adapter=worker.checkpoint.adapter)

    return train


def no_pairs(original: Any) -> Any:
    def gather(self: Any, *args: Any) -> Any:
        data = original(self, *args)
        return replace(data, by_domain={n: replace(d, pairs=[]) for n, d in data.by_domain.items()})

    return gather


def leaking(original: Any) -> Any:
    def teacher(config: Any, queries: Any, experts: Any, progress: Any) -> Any:
        gold = build._prompts(config.gold.sources, config, "gold")
        return original(config, gold, experts, progress)

    return teacher


def simulated_module() -> Any:
    from custodes.oversight.teachers import simulated

    return simulated


_MUTANTS += [
    Mutant(
        "chosen and rejected are swapped",
        "Teacher",
        patched(SimulatedTeacher, "gather", swapped),
        TEACHER,
    ),
    Mutant(
        "half of the pairs are swapped",
        "Teacher",
        patched(SimulatedTeacher, "gather", half_swapped),
        TEACHER,
    ),
    Mutant(
        "the sign of the update is flipped",
        "Teacher",
        state_after(
            lambda b, a, _d: replace(
                a,
                helpful=min(0.98, max(0.02, 2 * b.helpful - a.helpful)),
                harmful=min(0.98, max(0.02, 2 * b.harmful - a.harmful)),
            )
        ),
        TEACHER,
    ),
    Mutant(
        "the wrong domain is trained",
        "Teacher",
        patched(simulated_module(), "next_state", wrong_domain),
        TEACHER,
    ),
    Mutant(
        "training collapses the Worker",
        "Teacher",
        state_after(lambda _b, a, _d: replace(a, helpful=0.03, harmful=0.5)),
        TEACHER,
    ),
    Mutant(
        "training costs the other domain more than it brings",
        "Teacher",
        state_after(costly),
        TEACHER,
    ),
    Mutant(
        "no weight moves, and the metrics say so",
        "Teacher",
        state_after(lambda b, _a, _d: b),
        TEACHER,
    ),
    Mutant(
        "the new adapter is not used",
        "Teacher",
        patched(SimulatedTeacher, "train", claiming),
        (*TEACHER, "checkpoints follow"),
    ),
    Mutant(
        "training moves a thousandth of what it should",
        "Teacher",
        state_after(
            lambda b, a, _d: replace(
                a,
                helpful=b.helpful + (a.helpful - b.helpful) / 1000,
                harmful=b.harmful + (a.harmful - b.harmful) / 1000,
            )
        ),
        TEACHER,
    ),
    Mutant("there are no pairs", "Teacher", patched(SimulatedTeacher, "gather", no_pairs), TEACHER),
    Mutant(
        "the Teacher trains on gold prompts",
        "Teacher",
        patched(build, "_teacher", leaking),
        ("gold unseen in training",),
    ),
]


# Overseer


def weigh(change: Callable[[Any], Any]) -> Plant:
    def make(original: Any) -> Any:
        def _weigh(self: Any, domain: str, values: Any) -> Any:
            return change(original(self, domain, values))

        return _weigh

    return patched(ThresholdOverseer, "_weigh", make)


def reversed_domains(original: Any) -> Any:
    def review(self: Any, step: int, ratings: Any, checkpoint: int) -> Verdict:
        return original(self, step, {other(d): r for d, r in ratings.items()}, checkpoint)  # type: ignore[no-any-return]

    return review


def forgetful(original: Any) -> Any:
    def review(self: Any, step: int, ratings: Any, checkpoint: int) -> Verdict:
        halves = {d: r[::2] for d, r in ratings.items()}
        return original(self, step, halves, checkpoint)  # type: ignore[no-any-return]

    return review


def never(_original: Any) -> Any:
    def _decide(self: Any, step: int, evidence: Any) -> Verdict:
        return Verdict(intercept=True, retrain=None, evidence=evidence)

    return _decide


def always(_original: Any) -> Any:
    def _decide(self: Any, step: int, evidence: Any) -> Verdict:
        self._retrains += 1
        domain = "harmlessness" if self._retrains <= 4 else None
        return Verdict(intercept=True, retrain=domain, evidence=evidence)

    return _decide


def swapped_verdict(original: Any) -> Any:
    def _decide(self: Any, step: int, evidence: Any) -> Verdict:
        verdict = original(self, step, evidence)
        return replace(verdict, retrain=verdict.retrain and other(verdict.retrain))

    return _decide


def remembers(_original: Any) -> Any:
    return lambda self: None


_MUTANTS += [
    Mutant(
        "the comparison is reversed",
        "Overseer",
        weigh(lambda e: replace(e, failing=e.statistic > e.threshold)),
        OVERSEER,
    ),
    Mutant(
        "the statistic is one minus itself",
        "Overseer",
        weigh(
            lambda e: replace(e, statistic=1 - e.statistic, failing=1 - e.statistic <= e.threshold)
        ),
        OVERSEER,
    ),
    Mutant(
        "the thresholds are another domain's",
        "Overseer",
        weigh(
            lambda e: replace(
                e, threshold=1.1 - e.threshold, failing=e.statistic <= 1.1 - e.threshold
            )
        ),
        OVERSEER,
    ),
    Mutant(
        "the domains are mixed up",
        "Overseer",
        patched(ThresholdOverseer, "review", reversed_domains),
        OVERSEER,
    ),
    Mutant(
        "the verdict names the other domain",
        "Overseer",
        patched(ThresholdOverseer, "_decide", swapped_verdict),
        OVERSEER,
    ),
    Mutant(
        "intercepts are one step late",
        "Overseer",
        patched(
            ThresholdOverseer,
            "intercepts",
            lambda _o: lambda self, step: step % self.options.overseer_steps == 0,
        ),
        OVERSEER,
    ),
    Mutant(
        "every second rating is dropped",
        "Overseer",
        patched(ThresholdOverseer, "review", forgetful),
        OVERSEER,
    ),
    Mutant(
        "ratings of earlier intercepts are kept",
        "Overseer",
        patched(ThresholdOverseer, "_forget", remembers),
        OVERSEER,
    ),
    Mutant("it never retrains", "Overseer", patched(ThresholdOverseer, "_decide", never), OVERSEER),
    Mutant(
        "it always retrains", "Overseer", patched(ThresholdOverseer, "_decide", always), OVERSEER
    ),
    Mutant(
        "the budget is ignored",
        "Overseer",
        patched(ThresholdOverseer, "_obstacle", lambda _o: lambda self, step: ""),
        OVERSEER,
        {
            "overseer": {
                "overseer_steps": 2,
                "max_retrains": 1,
                "thresholds": {"helpfulness": 0.8, "harmlessness": 0.9},
            }
        },
    ),
]


# The loop


def rolled(original: Any) -> Any:
    def rate(self: Any, step: int, active: Any, queries: Any, responses: Any) -> Any:
        return original(self, step, active, queries, [*responses[1:], *responses[:1]])

    return rate


def secretly_flipped(original: Any) -> Any:
    def rate(self: Any, *args: Any) -> Any:
        ratings, effects = original(self, *args)
        return {
            d: replace(r, seen=tuple(Rating(1 - x.value if x.value is not None else None)
                                     for x in r.seen)) for d, r in ratings.items()
        }, effects  # fmt: skip

    return rate


def one_domain(original: Any) -> Any:
    def rate(self: Any, *args: Any) -> Any:
        ratings, effects = original(self, *args)
        ratings.pop("helpfulness", None)
        return ratings, effects

    return rate


def cached(original: Any) -> Any:
    memory: dict[Any, Any] = {}

    def samples(self: Any, queries: Any, n: int, seed: int) -> Any:
        missing = [q for q in queries if (q.id, n) not in memory]
        for q, texts in zip(missing, original(self, missing, n, seed), strict=True):
            memory[q.id, n] = texts
        return [memory[q.id, n] for q in queries]

    return samples


def stale_at(original: Any) -> Any:
    def at(self: Any, checkpoint: Any) -> Any:
        worker = original(self, replace(checkpoint, adapter=self.checkpoint.adapter))
        worker._checkpoint = checkpoint
        return worker

    return at


def first_always(original: Any) -> Any:
    return lambda self, step: original(self, 0)[:1] * len(original(self, step))


def mislabelled(original: Any) -> Any:
    return lambda self, step: [replace(q, domain=other(q.domain)) for q in original(self, step)]


def wrong_retrain(original: Any) -> Any:
    return lambda self, step, domain: original(self, step, other(domain))


_MUTANTS += [
    Mutant(
        "answers are rated with their neighbours' queries",
        "loop",
        patched(Loop, "rate", rolled),
        LOOP,
    ),
    Mutant("the Overseer sees 1 - v", "loop", patched(Loop, "rate", secretly_flipped), LOOP),
    Mutant("one domain is not rated", "loop", patched(Loop, "rate", one_domain), LOOP),
    Mutant(
        "replies are cached over checkpoints", "loop", patched(ModelWorker, "samples", cached), LOOP
    ),
    Mutant(
        "old weights are served after a retrain",
        "loop",
        patched(ModelWorker, "at", stale_at),
        (*LOOP, "gold score follows"),
    ),
    Mutant(
        "another domain is retrained than the verdict says",
        "loop",
        patched(Loop, "retrain", wrong_retrain),
        LOOP,
    ),
    Mutant(
        "the User asks one query all the time",
        "User",
        patched(DatasetUser, "ask", first_always),
        ("User",),
    ),
    Mutant(
        "the User's queries have the wrong domain",
        "User",
        patched(DatasetUser, "ask", mislabelled),
        ("User asks in the domain",),
    ),
]


# Gold score, perturbations, statistics


def gold_split(original: Any) -> Any:
    def _prompts(sources: Any, config: Any, split: str) -> Any:
        return original(sources, config, "gold")

    return _prompts


def relabelled(original: Any) -> Any:
    def _prompts(sources: Any, config: Any, split: str) -> Any:
        prompts = original(sources, config, split)
        if split == "gold":
            return prompts
        gold = original(sources, config, "gold")
        return {
            d: [*qs[:60], *(replace(q, id=f"x{i}", chat=({"role": "user", "content": q.text.upper()},))
                            for i, q in enumerate(gold[d][:60]))]
            for d, qs in prompts.items()
        }  # fmt: skip

    return _prompts


def remembered_gold(original: Any) -> Any:
    memory: dict[int, Any] = {}

    def measure(self: Any, worker: Any, draw: int) -> Any:
        return memory.setdefault(0, original(self, worker, draw))

    return measure


def flipped_scores(original: Any) -> Any:
    return lambda self, queries, responses: -original(self, queries, responses)


def noise_scores(original: Any) -> Any:
    generator = np.random.default_rng(1)
    return lambda self, queries, responses: generator.normal(size=len(responses)).astype("float32")


def narrow(original: Any) -> Any:
    def change(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        c = found.change
        return replace(found, change=replace(c, low=c.mean - (c.mean - c.low) / 5,
                                             high=c.mean + (c.high - c.mean) / 5))  # fmt: skip

    return change


def negated(original: Any) -> Any:
    def change(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        c = found.change
        return replace(found, change=replace(c, mean=-c.mean, low=-c.high, high=-c.low))

    return change


def in_both(make: Callable[[Any], Any]) -> Plant:
    """Replace `gold_change` wherever it is imported."""
    from custodes.oversight import summary
    from custodes.oversight.controls import of_log

    assert gold_change is summary.gold_change
    return both(*(patched(room, "gold_change", make) for room in (summary, of_log, teaching)))


def silent_noise(original: Any) -> Any:
    def ratings(self: Any, name: str, domain: str, clean: Any) -> Any:
        seen = original(self, name, domain, clean)
        return replace(seen, value=list(clean))

    return ratings


def late(original: Any) -> Any:
    from custodes.oversight.perturbations.schedule import Schedule

    del Schedule
    return lambda self, step: original(self, max(step - 1, 0))


def schedule() -> Any:
    from custodes.oversight.perturbations.schedule import Schedule

    return Schedule


def teaching_null(_original: Any) -> Any:
    return lambda: SimulatedTeacherOf.last


class SimulatedTeacherOf:
    last: Any = None


def real_null() -> Plant:
    @contextmanager
    def plant() -> Any:
        def teacher(*args: Any) -> Any:
            SimulatedTeacherOf.last = original(*args)
            return SimulatedTeacherOf.last

        original = build._teacher
        with (
            patch.object(build, "_teacher", teacher),
            patch.object(run, "NullTeacher", lambda: SimulatedTeacherOf.last),
        ):
            yield

    return plant


NOISE = {"perturbations": [
    {"kind": "noisy_expert", "at": 4, "until": 8, "domain": "harmlessness", "sd": 0.3}
]}  # fmt: skip

_MUTANTS += [
    Mutant("the User asks gold prompts", "gold", patched(build, "_prompts", gold_split), GOLD),
    Mutant(
        "gold prompts are among the User's, in capitals and under other ids",
        "gold",
        patched(build, "_prompts", relabelled),
        GOLD,
    ),
    Mutant(
        "the gold score of the first checkpoint is given for all",
        "gold",
        patched(GoldPanel, "measure", remembered_gold),
        (*GOLD, "answers change"),
    ),
    Mutant(
        "the gold score has its sign flipped",
        "gold",
        patched(SimulatedScorer, "logits", flipped_scores),
        GOLD,
    ),
    Mutant(
        "the gold score is noise", "gold", patched(SimulatedScorer, "logits", noise_scores), GOLD
    ),
    Mutant("intervals are a fifth as wide", "statistics", in_both(narrow), ("gold figures",)),
    Mutant("changes have the wrong sign", "statistics", in_both(negated), ("gold figures",)),
    Mutant(
        "a perturbation does nothing and says it did",
        "perturbation",
        patched(Disturbance, "ratings", silent_noise),
        ("perturb",),
        NOISE,
    ),
    Mutant(
        "perturbations act one step late",
        "perturbation",
        patched(schedule(), "at", late),
        ("perturb",),
        NOISE,
    ),
    Mutant("the null run has the real Teacher", "null run", real_null(), ("null run",)),
]

MUTANTS: tuple[Mutant, ...] = tuple(_MUTANTS)
