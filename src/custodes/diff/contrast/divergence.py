"""The content of contrast.json: text, tokens and prompts on which two models diverge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from custodes.conversation import Query
from custodes.diff.contrast.decoding import Contrast, contrast, divergent_tokens
from custodes.diff.contrast.search import divergences, search_prompts
from custodes.diff.plan import DiffPlan
from custodes.models.base import LanguageModel, Sampling
from custodes.progress import Progress, silent
from custodes.seeds import derive

if TYPE_CHECKING:
    from custodes.diff.responses import Responses
    from custodes.models.torch import TorchModel

__all__ = ["SCHEMA", "divergence_report", "largest_gaps", "sample_queries"]

SCHEMA = 2
# Prompts for contrastive text, for tokens, and to begin the search with.
TEXT_PROMPTS, TOKEN_PROMPTS, START_PROMPTS = 12, 48, 32
MAX_TOKENS = 48
STRENGTH, CUT = 1.0, 0.1
MOST_TOKENS = 20
BEFORE = 120
"""Characters of the answer shown before a token."""


def divergence_report(
    models: tuple[TorchModel, TorchModel],
    plan: DiffPlan,
    responses: tuple[Responses, Responses],
    *,
    proposer: LanguageModel | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Return the content of contrast.json; docs/reference/diff.md says what each field means.

    Args:
        models: A and B.
        plan: The prompts, and the system prompts of both sides.
        responses: Responses of A and of B.
        proposer: Writes prompts for the search; without one, words of prompts are recombined.
        seed: Draws the prompts and the search.
        progress: Called as stages begin and end.

    Raises:
        ModelError: The models have different tokenizers.
    """
    a, b = models
    queries = sample_queries(plan.queries, TEXT_PROMPTS, seed, "texts")
    chats_a, chats_b = (side.chats(queries) for side in plan.sides)
    settings: dict[str, Any] = {"strength": STRENGTH, "cut": CUT, "max_tokens": MAX_TOKENS}
    task = "contrastive text"
    progress(task, 0, 2)
    b_not_a = contrast(a, b, chats_b, chats_a=chats_a, **settings)
    progress(task, 1, 2)
    a_not_b = contrast(b, a, chats_a, chats_a=chats_b, **settings)
    progress(task, 2, 2)
    return {
        "schema": SCHEMA,
        "strength": STRENGTH,
        "cut": CUT,
        "b_not_a": _text_rows(queries, b_not_a),
        "a_not_b": _text_rows(queries, a_not_b),
        "tokens": _token_rows(models, plan, responses, seed, progress),
        "prompts": _prompt_rows(models, plan, proposer, seed, progress),
    }


def sample_queries(
    queries: Sequence[Query], count: int, seed: int, purpose: str
) -> tuple[Query, ...]:
    """Draw up to ``count`` queries, in their order, independently for each purpose."""
    # "partings" was this module's name. Another word here would draw other prompts.
    rng = np.random.default_rng(derive(seed, "partings", purpose))
    order = np.sort(rng.permutation(len(queries))[:count])
    return tuple(queries[k] for k in order)


def _text_rows(queries: Sequence[Query], contrasts: Sequence[Contrast]) -> list[dict[str, Any]]:
    return [
        {
            "prompt_id": query.id,
            "prompt": query.transcript,
            "text": one.text,
            "tokens": list(one.tokens),
            "gaps": [round(float(gap), 3) for gap in one.gaps],
        }
        for query, one in zip(queries, contrasts, strict=True)
    ]


def _token_rows(
    models: tuple[TorchModel, TorchModel],
    plan: DiffPlan,
    responses: tuple[Responses, Responses],
    seed: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Score both sides' own responses by both models."""
    task = "tokens on which they diverge"
    progress(task, 0, 1)
    queries = sample_queries(plan.queries, TOKEN_PROMPTS, seed, "tokens")
    chats = [side.chats(queries) for side in plan.sides]
    rows: list[dict[str, Any]] = []
    for letter, side in zip("ab", responses, strict=True):
        place = {prompt_id: k for k, prompt_id in enumerate(side.ids)}
        texts = [side.texts[place[query.id]][0] for query in queries]
        rows += [
            {
                "prompt_id": queries[one.chat].id,
                "answer_of": letter,
                "before": one.before[-BEFORE:],
                "token": one.token,
                "gap": round(one.gap, 3),
            }
            for one in divergent_tokens(*models, chats[1], texts, MOST_TOKENS, chats_a=chats[0])
        ]
    progress(task, 1, 1)
    return largest_gaps(rows, MOST_TOKENS)


def largest_gaps(rows: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Return the rows with the largest |gap|, in falling order."""
    return sorted(rows, key=lambda row: -abs(row["gap"]))[:most]


def _prompt_rows(
    models: tuple[TorchModel, TorchModel],
    plan: DiffPlan,
    proposer: LanguageModel | None,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Search prompts, then measure them again: the largest of many estimates is too large."""
    single = [query for query in plan.queries if len(query.chat) == 1]
    start = [query.text for query in sample_queries(single, START_PROMPTS, seed, "search")]
    if not start:
        return {"ordinary": None, "divergent": []}
    systems = (plan.sides[0].system, plan.sides[1].system)
    sampling = Sampling(max_tokens=24, temperature=1.0, seed=derive(seed, "partings", "answers"))
    candidates = search_prompts(
        *models,
        start,
        rounds=2,
        width=16,
        proposer=proposer,
        sampling=sampling,
        systems=systems,
        progress=progress,
    )
    task = "measuring these prompts again"
    progress(task, 0, 1)
    afresh = sampling.seeded(derive(seed, "partings", "again"))
    prompts = [one.prompt for one in candidates]
    measured = divergences(*models, [*prompts, *start], afresh, systems)
    progress(task, 1, 1)
    rows = [
        {
            "prompt": one.prompt,
            "divergence": round(divergence, 4),
            "first_estimate": round(one.divergence, 4),
            "answer_a": answer_a,
            "answer_b": answer_b,
            "round": one.round,
        }
        for one, (divergence, answer_a, answer_b) in zip(candidates, measured, strict=False)
    ]
    return {
        "ordinary": round(float(np.mean([row[0] for row in measured[len(prompts) :]])), 4),
        "divergent": sorted(rows, key=lambda row: -row["divergence"]),
    }
