"""Options of ``custodes drift``."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from custodes.models.resolve import Engine

__all__ = ["DriftConfig"]


class DriftConfig(BaseModel):
    """A lineage, and how to sample and test it.

    Attributes:
        sources: One run folder, or two or more models in order, the first generation first.
        prompts: The prompts: a file, a hub dataset or a shipped set; by default the held-out split
            of all shipped sets, on which custodes trains no Worker.
        limit: Number of prompts to use, drawn by the seed; by default all.
        samples: Responses to each prompt in each round.
        alpha: Level: the tolerated share of false ones among the behaviours that are detected, at
            whatever generation the lineage ends.
        max_tokens: Longest response; by default as in the run's Worker, or 64.
        temperature: Sampling temperature, above 0, since every round needs new responses; by
            default as in the run's Worker, or 0.8.
        concepts: YAML file of concepts, each with three or more sentences; "shipped", or "none".
        questionnaire: Statements of values that every generation is asked about: a file, "shipped",
            or "none".
        statements: Number of statements to ask about at most, drawn by the seed, evenly over the
            behaviours.
        engine: Serves the generations. auto takes the run's engine, or the fastest that can.
        seed: Draws prompts, responses and statements.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[str, ...]
    prompts: str | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    samples: Annotated[int, Field(ge=1, le=1000)] = 1
    alpha: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(gt=0, le=5)] | None = None
    concepts: str = "shipped"
    questionnaire: str = "none"
    statements: Annotated[int, Field(ge=16)] = 96
    engine: Engine = "auto"
    seed: Annotated[int, Field(ge=0)] = 0
