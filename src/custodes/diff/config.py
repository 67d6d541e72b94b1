"""Options of ``custodes diff``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from custodes.models.resolve import Engine

__all__ = ["DiffConfig"]


class DiffConfig(BaseModel):
    """Two models or response files to compare, and how.

    Attributes:
        a: A model (a bundled name, hub id, folder, PEFT folder, .gguf or endpoint:MODEL@URL), or
            a file of responses (JSONL, JSON, CSV, Parquet, samples_*.jsonl of lm-eval, or a log of
            Inspect).
        b: The same, for the other side.
        prompts: The prompts: a file, a hub dataset, or one of the shipped sets (everyday,
            harm_adjacent, look_alikes). By default all shipped sets, or the prompts of the response
            file if one of the sides is one.
        limit: Number of prompts to use, drawn by the seed; by default all.
        samples: Responses to each prompt.
        max_tokens: Longest response, in tokens.
        temperature: Sampling temperature; 0 is greedy decoding.
        temperature_a: Sampling temperature of A, if it is another.
        temperature_b: Sampling temperature of B, if it is another.
        top_p: Nucleus sampling keeps tokens up to this probability mass, in (0, 1].
        system_a: A's system prompt.
        system_b: B's system prompt.
        prompt_column: The column of the prompts in files of responses; by default prompt, or the
            first other usual name.
        prompt_column_a: The column of A's prompts, if it is another.
        prompt_column_b: The column of B's prompts, if it is another.
        response_column: The column of the responses in files of responses; by default response, or
            the first other usual name (completion, output…).
        response_column_a: The column of A's responses, if it is another. A and B may be two columns
            of one file.
        response_column_b: The column of B's responses, if it is another.
        engine: Serves both models. auto takes OpenVINO if it can serve both, else torch.
        labeler: A model that proposes differences in words, on one half of the prompts.
        judge: The model that checks the proposals, blind, on the other half; by default the
            labeler.
        proposals: Number of proposals to check at most. With fewer, each needs less evidence.
        judged: Number of prompts for the judge. Each costs four short replies for each proposal.
        contrast: Also write text that one model would write and the other would not, and find the
            tokens and prompts on which they diverge most. Needs the weights of both models.
        fdr: Tolerated share of false findings, in (0, 0.5].
        seed: Draws prompts, responses, clusters, relabellings and the A/A run.
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
    prompt_column: str | None = None
    prompt_column_a: str | None = None
    prompt_column_b: str | None = None
    response_column: str | None = None
    response_column_a: str | None = None
    response_column_b: str | None = None
    engine: Engine = "auto"
    labeler: str | None = None
    judge: str | None = None
    proposals: int = Field(default=12, ge=1, le=24)
    judged: int = Field(default=60, ge=1)
    contrast: bool = False
    fdr: float = Field(default=0.1, gt=0, le=0.5)
    seed: int = Field(default=0, ge=0)
