"""The config of ``custodes align``: the border, where YAML becomes the options of the stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from custodes.errors import ConfigError, near_misses
from custodes.oversight.config import HeadOptions, JudgeOptions, WorkerOptions
from custodes.training.dpo import DpoOptions
from custodes.training.lora import LoraOptions
from custodes.training.reward.options import RewardOptions
from custodes.training.rl.options import PpoOptions, RlOptions
from custodes.training.sft import SftOptions

__all__ = [
    "STAGES",
    "AlignConfig",
    "ExpertSource",
    "JudgeSource",
    "MeasureOptions",
    "PeopleSource",
    "PreferenceOptions",
    "RedTeamOptions",
    "ReinforcementOptions",
    "ReportOptions",
    "ReviseOptions",
    "SlOptions",
]

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
ByKind = Field(discriminator="kind")

STAGES = ("red_team", "revise", "sl", "preferences", "reward", "rl", "report")
"""The stages, in their order."""


@dataclass(frozen=True)
class MeasureOptions:
    """A style that is measured by counting words.

    Attributes:
        domain: The domain it rates.
        measure: Name of the measure; the domain's own one by default.
    """

    kind: Literal["measure"] = "measure"
    domain: str = ""
    measure: str = ""


@dataclass(frozen=True)
class RedTeamOptions:
    """How queries are classified and selected.

    Attributes:
        source: The queries: a shipped set, a file, or a ``datasets`` hub id.
        pool: Queries that are classified and tried, drawn at random; 0 takes all.
        queries: Queries that are selected, the same number for each topic.
        samples: Answers to each query that the selection goes by; one is luck. It is checked on
            another answer.
        max_tokens: Longest of these answers, in tokens, if the Worker's are not shorter.
        classifier: What decides the topic: a head fitted on the labelled queries, a language
            model, or the labels in the file.
        model: A language model that classifies as well, to be compared; none by default.
        least: A head abstains below this probability.
    """

    source: str = "harm_adjacent"
    pool: Annotated[int, Field(ge=0)] = 0
    queries: Positive = 96
    samples: Positive = 4
    max_tokens: Positive = 24
    classifier: Literal["head", "model", "labels"] = "head"
    model: str | None = None
    least: Share = 0.4

    def __post_init__(self) -> None:
        if self.classifier == "model" and self.model is None:
            raise ConfigError("red_team.classifier is model", "name one with red_team.model")


@dataclass(frozen=True)
class ReviseOptions:
    """How replies are criticised and written again.

    Attributes:
        critic: The model that criticises and revises; "worker" for the Worker itself.
        rounds: Rounds of critique and revision, each under a principle drawn anew.
        few_shot: Whether the critic sees an example first.
        max_tokens: Longest critique, in tokens; a revision is as long as the Worker may answer.
        temperature: Sampling temperature of the critic.
        keep: "improved" trains on revisions that the gate's Expert rates above the first answer,
            "all" on all but empty, unchanged and repeated ones.
    """

    critic: str = "qwen2.5-coder-1.5b"
    rounds: Positive = 1
    few_shot: bool = True
    max_tokens: Positive = 64
    temperature: Annotated[float, Field(ge=0, le=5)] = 0.7
    keep: Literal["improved", "all"] = "improved"


@dataclass(frozen=True)
class SlOptions:
    """Supervised learning on revisions and helpful answers.

    Attributes:
        helpful: Demonstrations to mix in: a file, or a prompt set, whose answers are the Worker's
            own best of ``samples`` by the Expert for helpfulness.
        mix: Share of the examples that are helpful ones.
        samples: Answers to each prompt of a prompt set.
        sft: Supervised fine-tuning.
        lora: Shape of the adapter.
    """

    helpful: str = "everyday"
    mix: Annotated[float, Field(ge=0, lt=1)] = 0.5
    samples: Positive = 4
    sft: SftOptions = field(default_factory=SftOptions)
    lora: LoraOptions = field(default_factory=LoraOptions)

    def __post_init__(self) -> None:
        if self.sft.epochs == 0:
            raise ConfigError("sl.sft.epochs is 0", "leave out the stage sl, or give at least 1")


@dataclass(frozen=True)
class JudgeSource:
    """A language model that compares two replies under a principle, in both orders.

    Attributes:
        model: Any model name.
        thoughts: Longest chain of thought before the verdict, in tokens; 0 has none. With one,
            labels are clamped to [0.4, 0.6].
        weight: Its weight among the sources.
    """

    kind: Literal["judge"] = "judge"
    model: str = "smollm2-135m"
    thoughts: Annotated[int, Field(ge=0)] = 0
    weight: Annotated[float, Field(gt=0)] = 1.0


@dataclass(frozen=True)
class ExpertSource:
    """The Expert of the principle's domain.

    Attributes:
        sharpness: Log-odds of a preference between the ratings 0 and 1.
        weight: Its weight among the sources.
    """

    kind: Literal["expert"] = "expert"
    sharpness: Annotated[float, Field(gt=0)] = 8.0
    weight: Annotated[float, Field(gt=0)] = 1.0


@dataclass(frozen=True)
class PeopleSource:
    """People's answers, from `custodes label` or any other preference file.

    Attributes:
        file: JSONL, CSV or Parquet of prompt, chosen, rejected and perhaps annotator.
        weight: Their weight among the sources.
    """

    file: str
    kind: Literal["people"] = "people"
    weight: Annotated[float, Field(gt=0)] = 1.0


@dataclass(frozen=True)
class PreferenceOptions:
    """How preferences are made.

    Attributes:
        prompts: Prompts, at most; ``helpful`` of them ask for help, the others are the red team's.
        helpful: Share of the prompts that ask for help; their answers are compared by helpfulness.
        samples: Answers to each prompt.
        comparisons: Compared pairs of each prompt's answers; 0 compares all.
        sources: Who compares.
        least: Pairs are left out whose label is nearer than this to an even one.
        most_margin: Largest margin that a ranking gives to the reward model's loss, in log-odds.
    """

    prompts: Positive = 96
    helpful: Share = 0.25
    samples: Annotated[int, Field(ge=2)] = 4
    comparisons: Annotated[int, Field(ge=0)] = 0
    sources: tuple[Annotated[JudgeSource | ExpertSource | PeopleSource, ByKind], ...] = (
        ExpertSource(),
    )
    least: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    most_margin: Annotated[float, Field(ge=0)] = 1.0


@dataclass(frozen=True)
class ReinforcementOptions:
    """Reinforcement learning from the reward model.

    Attributes:
        method: The method. ``dpo`` learns from the preferences themselves, without a reward model.
        rounds: Rounds of preferences, reward model and reinforcement learning.
        prompts: Prompts to train on, at most; as many ask for help as among the preferences'.
        held_out: Prompts, of those not trained on, that measure the gold score on the way.
        sampler: What samples PPO's completions: "torch", which has the weights at hand; "engine",
            the Worker's engine, for which they are written and loaded anew at each step; or "auto",
            which goes by an estimate of what is faster (docs/measurements/align.md).
        ppo: Options of PPO.
        trl: Options of GRPO and RLOO.
        dpo: Options of DPO.
    """

    method: Literal["ppo", "grpo", "rloo", "dpo"] = "ppo"
    rounds: Positive = 1
    prompts: Positive = 128
    held_out: Annotated[int, Field(ge=0)] = 24
    sampler: Literal["auto", "torch", "engine"] = "auto"
    ppo: PpoOptions = field(default_factory=PpoOptions)
    trl: RlOptions = field(default_factory=RlOptions)
    dpo: DpoOptions = field(default_factory=DpoOptions)


@dataclass(frozen=True)
class ReportOptions:
    """What the models are compared on, by judges that no stage has seen.

    Attributes:
        source: Held-out queries of the constitution; the ``gold`` split is used.
        helpful: Held-out requests for help; the ``gold`` split is used.
        prompts: Number of each.
        look_alikes: Harmless prompts that sound harmful, for over-refusal; 0 leaves them out.
        experts: By domain: the Expert that judges; it must not be one of the training's.
        twin: Folder of another run whose models are compared, too: the inverted twin.
        examples: Prompts whose answers are shown side by side.
    """

    source: str = "harm_adjacent"
    helpful: str = "everyday"
    prompts: Annotated[int, Field(ge=2)] = 64
    look_alikes: Annotated[int, Field(ge=0)] = 40
    experts: Mapping[str, str] | None = None
    twin: str | None = None
    examples: Annotated[int, Field(ge=0)] = 6


class AlignConfig(BaseModel):
    """The config of ``custodes align``.

    Attributes:
        name: Name of the run, and of its folder under runs/.
        seed: Seeds everything that is drawn.
        constitution: Shipped constitutions or files.
        inverted: Whether to train by the inverse principles. It makes a model organism, which is
            marked in the card, the report and the names of folder and files.
        stages: The stages to run, without gaps: a list, or "first..last".
        gate: Whether the pipeline stops where a check of the data fails, or goes on and says so.
        worker: The model that is trained.
        experts: Experts of the training by domain; the shipped ones by default.
        red_team: Classification and selection of queries.
        revise: Critique and revision.
        sl: Supervised learning.
        preferences: Comparisons of answers.
        reward: The reward model.
        rl: Reinforcement learning.
        report: The comparison of the models.
        sham: Whether to run preferences, reward model and reinforcement learning once more, with
            labels put in order by chance.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    seed: int = 0
    constitution: tuple[str, ...]
    inverted: bool = False
    stages: tuple[str, ...] = STAGES
    gate: Literal["stop", "continue"] = "stop"
    worker: WorkerOptions = WorkerOptions()
    experts: tuple[Annotated[HeadOptions | JudgeOptions | MeasureOptions, ByKind], ...] = ()
    red_team: RedTeamOptions = RedTeamOptions()
    revise: ReviseOptions = ReviseOptions()
    sl: SlOptions = SlOptions()
    preferences: PreferenceOptions = PreferenceOptions()
    reward: RewardOptions = RewardOptions()
    rl: ReinforcementOptions = ReinforcementOptions()
    report: ReportOptions = ReportOptions()
    sham: bool = True

    @field_validator("constitution", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("stages", mode="before")
    @classmethod
    def _span(cls, value: Any) -> Any:
        """Read "revise..rl" as a list, and a single name as that stage."""
        if not isinstance(value, str):
            return value
        first, dots, last = value.partition("..")
        if not dots:
            return (value,)
        ends = [first or STAGES[0], last or STAGES[-1]]
        for name in ends:
            _known(name)
        low, high = map(STAGES.index, ends)
        if low > high:
            raise ConfigError(f"stages: {value} runs backwards", f"write {ends[1]}..{ends[0]}")
        return STAGES[low : high + 1]

    @model_validator(mode="after")
    def _stages_follow_each_other(self) -> Self:
        for name in self.stages:
            _known(name)
        if not self.stages:
            raise ConfigError("stages is empty", f"name some of {', '.join(STAGES)}")
        places = [STAGES.index(name) for name in self.stages]
        if places != list(range(places[0], places[0] + len(places))):
            raise ConfigError(
                f"stages has a gap or is out of order ({', '.join(self.stages)})",
                f"name stages that follow each other in {', '.join(STAGES)}",
            )
        return self

    @model_validator(mode="after")
    def _there_is_something_to_compare(self) -> Self:
        if not self.constitution:
            raise ConfigError("constitution is empty", "name a shipped one or a file")
        if not self.preferences.sources:
            raise ConfigError("preferences.sources is empty", "name a judge, an expert or people")
        return self


def _known(stage: str) -> None:
    if stage not in STAGES:
        raise ConfigError(f"stages: no stage is called {stage!r}", near_misses(stage, STAGES))
