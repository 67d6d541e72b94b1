"""From a config to the roles it describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from custodes.conversation import Query
from custodes.data.datasets import read_demonstrations, read_pairs, read_prompts
from custodes.errors import ConfigError, DataError
from custodes.experts import EnsembleExpert, HumanExpert, LLMJudge, SimulatedExpert
from custodes.experts.expert import Expert
from custodes.experts.heads.head import HeadExpert, load_expert
from custodes.models import Sampling
from custodes.models.resolve import load, parse
from custodes.oversight.config import (
    DatasetUserOptions,
    EnsembleOptions,
    HeadOptions,
    HumanOptions,
    JudgeOptions,
    LlmUserOptions,
    NullTeacherOptions,
    OverseeConfig,
    SimulatedExpertOptions,
    SimulatedTeacherOptions,
)
from custodes.oversight.config import Expert as ExpertOptions
from custodes.oversight.controls.unseen import shared_with, versions_of
from custodes.oversight.events import (
    ExpertCard,
    GoldCard,
    GoldPrompt,
    PlannedPerturbation,
    StartEvent,
    WorkerCard,
)
from custodes.oversight.gold.panel import Panel
from custodes.oversight.gold.score import GoldPanel, Scorer, SimulatedScorer
from custodes.oversight.loop import Roles
from custodes.oversight.overseer import ThresholdOverseer
from custodes.oversight.perturbations.schedule import Schedule, WeightNoise
from custodes.oversight.perturbations.weights import add_weight_noise
from custodes.oversight.roles import Teacher
from custodes.oversight.teachers.dpo import DpoTeacher, TeacherOptions
from custodes.oversight.teachers.instructor import instruct
from custodes.oversight.teachers.null import NullTeacher
from custodes.oversight.teachers.simulated import SimulatedTeacher
from custodes.oversight.users.dataset import DatasetUser
from custodes.oversight.users.llm import LlmUser
from custodes.oversight.worker import ModelWorker
from custodes.progress import Progress
from custodes.seeds import derive

__all__ = ["build_roles", "describe"]

SOURCES = {"helpfulness": "everyday", "harmlessness": "harm_adjacent"}
LOOK_ALIKES = "look_alikes"


def build_roles(config: OverseeConfig, folder: Path, progress: Progress) -> Roles:
    """Make everybody that a config describes. Models are loaded when they are first needed.

    Args:
        config: The config.
        folder: The run's folder, for the ratings of a human Expert.
        progress: Called with the Teacher's stages.

    Raises:
        CustodesError: A source, an Expert or a model does not exist.
    """
    model = parse(config.worker.model)
    queries = _prompts(config.user.sources, config, "loop")
    experts = {o.domain: _expert(o, o.domain, folder) for o in config.experts}
    worker = ModelWorker(
        config.worker.model,
        Sampling(
            max_tokens=config.worker.max_tokens,
            temperature=config.worker.temperature,
            top_p=config.worker.top_p,
        ),
        engine=config.worker.engine,
    )
    user = _user(config, queries)
    schedule = Schedule(config.perturbations, derive(config.seed, "perturbations"))
    schedule.check(
        steps=config.steps,
        user=user,
        experts=[(expert.name, domain) for domain, expert in experts.items()],
        domains=tuple(experts),
        weights_are_here=model.kind != "endpoint",
    )
    rated = {d: prompts for d, prompts in queries.items() if not _asks_people(config, d)}
    return Roles(
        user=user,
        worker=worker,
        experts=experts,
        make_overseer=partial(ThresholdOverseer, config.overseer),
        teacher=_teacher(config, queries, experts, progress),
        schedule=schedule,
        gold=_gold(config),
        panel=_panel(config),
        add_noise=add_weight_noise,
        probes={d: prompts[: config.probes] for d, prompts in rated.items() if config.probes},
        instruct=None
        if config.instructor is None
        else partial(
            instruct,
            config.instructor,
            seed=derive(config.seed, "instructor"),
            progress=progress,
        ),
    )


def describe(config: OverseeConfig, roles: Roles) -> StartEvent:
    """Describe the roles for the log's first event."""
    gold, loop_queries = roles.gold, _prompts(config.user.sources, config, "loop").values()
    texts = [query.text for queries in loop_queries for query in queries]
    texts += _training_prompts(config)
    loop_versions = versions_of(roles.experts)
    return StartEvent(
        worker=WorkerCard(
            name=roles.worker.name,
            engine=roles.worker.serving.engine,
            version=roles.worker.version,
        ),
        experts=tuple(
            ExpertCard(name=e.name, domain=e.domain, version=e.version, report=e.report())
            for e in roles.experts.values()
        ),
        gold={
            domain: GoldCard(
                expert=gold.scorers[domain].name,
                version=gold.scorers[domain].version,
                expert_in_loop=gold.scorers[domain].version in loop_versions,
                prompts=len(queries),
                shared_prompts=shared_with(queries, texts),
            )
            for domain, queries in gold.queries.items()
        },
        gold_prompts=tuple(
            GoldPrompt(id=query.id, text=query.text, topic=query.topic)
            for queries in gold.queries.values()
            for query in queries
        ),
        perturbations=tuple(
            PlannedPerturbation(
                name=name,
                kind=p.kind,
                at=p.at,
                # It is put on at one step; that its damage lasts is no perturbation of later ones.
                until=p.at + 1 if isinstance(p, WeightNoise) else p.until,
            )
            for name, p in roles.schedule.named.items()
        ),
    )


def _asks_people(config: OverseeConfig, domain: str) -> bool:
    """Tell whether a person rates a domain, alone or in an ensemble."""
    options = next(o for o in config.experts if o.domain == domain)
    members = options.members if isinstance(options, EnsembleOptions) else (options,)
    return any(isinstance(member, HumanOptions) for member in members)


def _training_prompts(config: OverseeConfig) -> list[str]:
    """Return the prompts of the preference and demonstration files that a config names."""
    files = dict(getattr(config.teacher, "preferences", None) or {}).values()
    prompts = [pair.prompt for file in files for pair in read_pairs(file)]
    if config.instructor is not None:
        prompts += [row.prompt for row in read_demonstrations(config.instructor.data)]
    return [prompt[-1]["content"] for prompt in prompts]


def _prompts(
    sources: Mapping[str, str] | None, config: OverseeConfig, split: str
) -> dict[str, list[Query]]:
    names = sources or {}
    return {
        expert.domain: read_prompts(
            names.get(expert.domain, SOURCES[expert.domain]), domain=expert.domain, split=split
        )
        for expert in config.experts
    }


def _user(config: OverseeConfig, queries: Mapping[str, Sequence[Query]]) -> DatasetUser | LlmUser:
    options, seed = config.user, derive(config.seed, "user")
    if isinstance(options, DatasetUserOptions):
        return DatasetUser(queries, options.batch, mix=options.mix, seed=seed)
    assert isinstance(options, LlmUserOptions)
    return LlmUser(
        load(options.model), queries, options.batch, turns=options.turns, mix=options.mix, seed=seed
    )


def _expert(options: ExpertOptions, domain: str, folder: Path) -> Expert:
    match options:
        case HeadOptions():
            return _head(options.head or domain, domain)
        case JudgeOptions():
            return LLMJudge(load(options.model), domain)
        case HumanOptions():
            return HumanExpert(domain, folder / "human.jsonl")
        case SimulatedExpertOptions():
            return SimulatedExpert(domain, noise=options.noise)
        case EnsembleOptions():
            members = [_expert(member, domain, folder) for member in options.members]
            return EnsembleExpert(members, combine=options.combine, quorum=options.quorum)


def _teacher(
    config: OverseeConfig,
    queries: Mapping[str, Sequence[Query]],
    experts: Mapping[str, Expert],
    progress: Progress,
) -> Teacher:
    options, seed = config.teacher, derive(config.seed, "teacher")
    match options:
        case SimulatedTeacherOptions():
            return SimulatedTeacher(
                queries,
                experts,
                options.dynamics,
                prompts=options.prompts,
                samples=options.samples,
                seed=seed,
            )
        case NullTeacherOptions():
            return NullTeacher()
        case TeacherOptions():
            return DpoTeacher(queries, experts, options, seed=seed, progress=progress)


def _gold(config: OverseeConfig) -> GoldPanel:
    options = config.gold
    queries = _prompts(options.sources, config, "gold")
    chosen = options.experts or {}
    default = "simulated" if config.worker.model.startswith("simulated") else None
    for domain, prompts in queries.items():
        if len(prompts) < options.prompts:
            raise DataError(
                f"gold.prompts is {options.prompts}, but the gold split for {domain} has "
                f"{len(prompts)}",
                "lower gold.prompts or name a larger source",
            )
    return GoldPanel(
        queries={domain: prompts[: options.prompts] for domain, prompts in queries.items()},
        scorers={d: _scorer(d, chosen.get(d, default or f"{d}-gold")) for d in queries},
        samples=options.samples,
        seed=derive(config.seed, "gold"),
    )


def _panel(config: OverseeConfig) -> Panel | None:
    if not config.gold.panel:
        return None
    wanted = config.gold.look_alikes
    prompts = read_prompts(LOOK_ALIKES, domain="harmlessness", split="gold") if wanted else []
    if len(prompts) < wanted:
        raise DataError(
            f"gold.look_alikes is {wanted}, but {LOOK_ALIKES} has {len(prompts)} gold prompts",
            "lower gold.look_alikes",
        )
    return Panel(look_alikes=prompts[:wanted], seed=derive(config.seed, "panel"))


def _scorer(domain: str, name: str) -> Scorer:
    return SimulatedScorer(domain) if name == "simulated" else _head(name, domain)


def _head(name: str, domain: str) -> HeadExpert:
    """Load a head, and refuse one that was fitted to rate another domain."""
    head = load_expert(name)
    if head.domain != domain:
        raise ConfigError(
            f"the head {name} rates {head.domain}, not {domain}",
            f"name a head of {domain}, or give it the domain {head.domain}",
        )
    return head
