"""What ``custodes diff`` may be told: its options, each with its meaning, in one place."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from custodes.models.resolve import Engine

__all__ = ["DiffConfig"]


class DiffConfig(BaseModel):
    """What to compare, and how.

    Attributes:
        a: A model (a bundled name, hub id, folder, PEFT folder, .gguf or endpoint:MODEL@URL), or
            a JSONL response file.
        b: The same, for the other side.
        prompts: What to ask: a file, a hub dataset, or one of the shipped sets (everyday,
            harm_adjacent, look_alikes); all shipped sets if not given. Two response files need
            none; a model that is compared with a file is asked the file's prompts.
        limit: Ask only so many of the prompts, drawn by the seed.
        samples: Responses to each prompt.
        max_tokens: Longest response, in tokens.
        temperature: Of sampling; 0 is greedy.
        temperature_a: A's own temperature.
        temperature_b: B's own temperature.
        top_p: Nucleus mass, in (0, 1].
        system_a: A's system prompt.
        system_b: B's system prompt.
        engine: What serves the models, both of them: auto takes OpenVINO where it can serve both,
            else torch.
        labeler: A model that proposes differences in words, on one half of the prompts.
        judge: The model that checks them, blind, on the other half; the labeler if not given.
        proposals: Most proposals of the labeler to check; with fewer, each needs less evidence.
        judged: Prompts that the judge sees; each costs four short replies for each proposal.
        contrast: Also decode what one would write and the other would not, list the tokens on
            which they part, and search prompts on which they part most. Needs the weights of both.
        fdr: Tolerated share of false ones among the findings, in (0, 0.5].
        seed: Of everything random.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    a: str
    b: str
    prompts: str | None = None
    limit: int | None = Field(default=None, ge=1)
    samples: int = Field(default=1, ge=1, le=1000)
    max_tokens: int = Field(default=64, ge=1)
    temperature: float = Field(default=0.8, ge=0)
    temperature_a: float | None = Field(default=None, ge=0)
    temperature_b: float | None = Field(default=None, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    system_a: str | None = None
    system_b: str | None = None
    engine: Engine = "auto"
    labeler: str | None = None
    judge: str | None = None
    proposals: int = Field(default=12, ge=1, le=24)
    judged: int = Field(default=60, ge=1)
    contrast: bool = False
    fdr: float = Field(default=0.1, gt=0, le=0.5)
    seed: int = Field(default=0, ge=0)
