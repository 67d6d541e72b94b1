"""What ``custodes drift`` may be told: its options, each with its meaning, in one place."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from custodes.models.resolve import Engine

__all__ = ["DriftConfig"]


class DriftConfig(BaseModel):
    """A lineage, and how to look at it.

    Attributes:
        sources: One run folder, or two or more models in order, the first generation first.
        prompts: What to ask: a file, a hub dataset or a shipped set; by default the held-out split
            of all shipped sets, which no Worker of custodes was trained on.
        limit: Ask only so many of the prompts, drawn by the seed.
        samples: Responses to each prompt in each round.
        alpha: Level: the tolerated share of false ones among the behaviours said to drift, at
            whatever generation one stops to look.
        max_tokens: Longest response; the run's Worker's, or 64.
        temperature: Of sampling; the run's Worker's, or 0.8. It cannot be 0: evidence needs
            responses that are drawn anew.
        concepts: YAML of concepts, each with three or more sentences; "shipped", or "none".
        engine: What serves the generations; auto takes the run's, or the fastest that can.
        seed: Of everything that is drawn.
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
    engine: Engine = "auto"
    seed: Annotated[int, Field(ge=0)] = 0
