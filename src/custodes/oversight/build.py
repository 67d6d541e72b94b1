"""From a config to the roles it describes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from custodes.conversation import Query
from custodes.data.datasets import read_demonstrations, read_pairs, read_prompts
from custodes.errors import ConfigError, DataError, near_misses
from custodes.experts import EnsembleExpert, HumanExpert, LLMJudge, SimulatedExpert
from custodes.experts.expert import Expert
from custodes.experts.heads.head import load_expert, shipped
from custodes.experts.judges.template import load_template
from custodes.models import Sampling
from custodes.models.resolve import load, parse
from custodes.models.simulated import parse_simulated
from custodes.oversight.config import (
    DatasetUserOptions,
    EnsembleOptions,
    HeadOptions,
    HumanOptions,
    JudgeOptions,
    LlmUserOptions,
    NullTeacherOptions,
    OverseeConfig,
    OwnExpertOptions,
    OwnTeacherOptions,
    OwnUserOptions,
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
from custodes.oversight.gold.score import GoldPanel, Scorer, SimulatedScorer, as_scorer
from custodes.oversight.loop import Roles
from custodes.oversight.overseer import ThresholdOverseer
from custodes.oversight.own import OwnRoles, find, make_role, overseer_maker
from custodes.oversight.perturbations.schedule import Schedule, WeightNoise
from custodes.oversight.perturbations.weights import add_weight_noise
from custodes.oversight.roles import Overseer, Teacher, User
from custodes.oversight.teachers.dpo import DpoTeacher, TeacherOptions
from custodes.oversight.teachers.instructor import instruct
from custodes.oversight.teachers.null import NullTeacher
from custodes.oversight.teachers.simulated import SimulatedTeacher
from custodes.oversight.users.dataset import DatasetUser
from custodes.oversight.users.llm import LlmUser
from custodes.oversight.worker import ModelWorker
from custodes.progress import Progress
from custodes.seeds import derive

__all__ = ["build_roles", "describe", "source_of"]

SOURCES = {"helpfulness": "everyday", "harmlessness": "harm_adjacent"}
LOOK_ALIKES = "look_alikes"
WITHOUT = "none"
"""In place of a gold Expert: the domain has no gold score."""


def build_roles(
    config: OverseeConfig, folder: Path, progress: Progress, own: OwnRoles | None = None
) -> Roles:
    """Make everybody that a config describes. Models are loaded when they are first needed.

    Args:
        config: The config.
        folder: The run's folder, for the ratings of a human Expert.
        progress: Called with the Teacher's stages.
        own: Roles that Python code gives in place of the config's.

    Raises:
        CustodesError: A source, an Expert or a model does not exist.
    """
    own = own or OwnRoles()
    model = parse(config.worker.model)
    experts = dict(own.experts) or {o.domain: _expert(o, o.domain, folder) for o in config.experts}
    if model.kind == "simulated":
        simulated = [o.domain for o in config.experts if isinstance(o, SimulatedExpertOptions)]
        parse_simulated(config.worker.model).require(simulated)
    if not experts:
        raise ConfigError("there is no Expert", "list some in experts, or give some to oversee()")
    queries = _prompts(config.user.sources, experts, "loop")
    worker = ModelWorker(
        config.worker.model,
        Sampling(
            max_tokens=config.worker.max_tokens,
            temperature=config.worker.temperature,
            top_p=config.worker.top_p,
        ),
        engine=config.worker.engine,
    )
    user = _user(config, queries, own.user)
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
        make_overseer=_overseer(config, own.overseer),
        teacher=_teacher(config, queries, experts, progress, own.teacher),
        schedule=schedule,
        gold=_gold(config, experts, own.gold),
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
    gold = roles.gold
    loop_queries = _prompts(config.user.sources, roles.experts, "loop").values()
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


def source_of(domain: str, source: str | None, key: str = "user.sources") -> str:
    """Return where the prompts of a domain are.

    Args:
        domain: The domain.
        source: What the config names, if it does.
        key: The key that names it, for the error message.

    Raises:
        ConfigError: The config names nothing, and nothing ships for the domain.
    """
    if source is None and domain not in SOURCES:
        raise ConfigError(
            f"{key} has no prompts of the domain {domain!r}",
            f"name a file in {key}.{domain}; {near_misses(domain, SOURCES)} have prompts that ship",
        )
    return source or SOURCES[domain]


def _prompts(
    sources: Mapping[str, str] | None, domains: Iterable[str], split: str
) -> dict[str, list[Query]]:
    key = "gold.sources" if split == "gold" else "user.sources"
    return {
        domain: read_prompts(
            source_of(domain, (sources or {}).get(domain), key), domain=domain, split=split
        )
        for domain in domains
    }


def _user(config: OverseeConfig, queries: Mapping[str, Sequence[Query]], own: Any) -> User:
    options, seed = config.user, derive(config.seed, "user")
    if own is None and isinstance(options, OwnUserOptions):
        own = find(options.object, User)
    if own is not None:
        made: User = make_role(own, User, queries=queries, batch=options.batch, seed=seed)
        return made
    if isinstance(options, DatasetUserOptions):
        return DatasetUser(queries, options.batch, mix=options.mix, seed=seed)
    assert isinstance(options, LlmUserOptions)
    return LlmUser(
        load(options.model), queries, options.batch, turns=options.turns, mix=options.mix, seed=seed
    )


def _overseer(config: OverseeConfig, own: Any) -> Callable[[], Overseer]:
    if own is None and config.overseer.object is not None:
        own = find(config.overseer.object, Overseer)
    return partial(ThresholdOverseer, config.overseer) if own is None else overseer_maker(own)


def _expert(options: ExpertOptions, domain: str, folder: Path) -> Expert:
    match options:
        case HeadOptions():
            return load_expert(options.head or domain, domain=domain)
        case JudgeOptions():
            template = load_template(options.template or domain)
            return LLMJudge(load(options.model), domain, template=template)
        case HumanOptions():
            return HumanExpert(domain, folder / "human.jsonl")
        case SimulatedExpertOptions():
            return SimulatedExpert(domain, noise=options.noise)
        case OwnExpertOptions():
            return _own_expert(options.object, domain)
        case EnsembleOptions():
            members = [_expert(member, domain, folder) for member in options.members]
            return EnsembleExpert(members, combine=options.combine, quorum=options.quorum)


def _own_expert(name: str, domain: str) -> Expert:
    expert: Expert = make_role(find(name, Expert), Expert, domain=domain)
    if expert.domain != domain:
        raise ConfigError(
            f"{name} rates {expert.domain}, not {domain}", f"give it the domain {expert.domain}"
        )
    return expert


def _teacher(
    config: OverseeConfig,
    queries: Mapping[str, Sequence[Query]],
    experts: Mapping[str, Expert],
    progress: Progress,
    own: Any,
) -> Teacher:
    options, seed = config.teacher, derive(config.seed, "teacher")
    if own is None and isinstance(options, OwnTeacherOptions):
        own = find(options.object, Teacher)
    if own is not None:
        made: Teacher = make_role(own, Teacher, queries=queries, experts=experts, seed=seed)
        return made
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
        case _:
            assert isinstance(options, TeacherOptions)
            return DpoTeacher(queries, experts, options, seed=seed, progress=progress)


def _gold(
    config: OverseeConfig, domains: Iterable[str], own: Mapping[str, Scorer | Expert]
) -> GoldPanel:
    options = config.gold
    named = options.experts or {}
    default = "simulated" if config.worker.model.startswith("simulated") else None
    scorers: dict[str, Scorer] = {}
    for domain in domains:
        if domain in own:
            scorers[domain] = as_scorer(own[domain])
        elif named.get(domain) != WITHOUT:
            scorers[domain] = _scorer(domain, named.get(domain, default or f"{domain}-gold"))
    queries = _prompts(options.sources, scorers, "gold")
    for domain, prompts in queries.items():
        if len(prompts) < options.prompts:
            raise DataError(
                f"gold.prompts is {options.prompts}, but the gold split for {domain} has "
                f"{len(prompts)}",
                "lower gold.prompts or name a larger source",
            )
    return GoldPanel(
        queries={domain: prompts[: options.prompts] for domain, prompts in queries.items()},
        scorers=scorers,
        samples=options.samples,
        seed=derive(config.seed, "gold"),
    )


def _panel(config: OverseeConfig) -> Panel | None:
    if not config.gold.panel:
        return None
    wanted = config.gold.look_alikes
    prompts = read_prompts(LOOK_ALIKES, domain="", split="gold") if wanted else []
    if len(prompts) < wanted:
        raise DataError(
            f"gold.look_alikes is {wanted}, but {LOOK_ALIKES} has {len(prompts)} gold prompts",
            "lower gold.look_alikes",
        )
    return Panel(look_alikes=prompts[:wanted], seed=derive(config.seed, "panel"))


def _scorer(domain: str, name: str) -> Scorer:
    if name == "simulated":
        return SimulatedScorer(domain)
    if name in shipped() or name.endswith(".safetensors"):
        return load_expert(name, domain=domain)
    if ":" in name:
        return as_scorer(_own_expert(name, domain))
    raise ConfigError(
        f"gold.experts has no Expert for {domain!r}"
        + (f" called {name!r}" if "-gold" not in name else ""),
        f"name a head, package.module:object or {WITHOUT} in gold.experts.{domain}; "
        f"{near_misses(name, shipped())}",
    )
