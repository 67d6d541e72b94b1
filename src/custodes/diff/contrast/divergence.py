"""Where two models at hand part: what one would write and the other not, by token, by prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from custodes.diff.contrast.decoding import Contrast, contrast, divergent_tokens
from custodes.diff.contrast.search import divergences, search_prompts
from custodes.diff.plan import Question, Task
from custodes.models.base import LanguageModel, Sampling
from custodes.progress import Progress, silent
from custodes.seeds import derive

if TYPE_CHECKING:
    from custodes.diff.responses import Responses
    from custodes.models.torch import TorchModel

__all__ = ["SCHEMA", "partings"]

SCHEMA = 1
# Prompts for contrastive text, for tokens, and to begin the search with.
TEXTS, TOKENS, BEGIN = 12, 48, 32
LONGEST = 48
STRENGTH, CUT = 1.0, 0.1
SHOWN = 20
BEFORE = 120
"""Characters of the answer shown before a token."""


def partings(
    models: tuple[TorchModel, TorchModel],
    task: Task,
    responses: tuple[Responses, Responses],
    *,
    proposer: LanguageModel | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Return the content of contrast.json; docs/diff.md says what each field means.

    Args:
        models: A and B.
        task: What they were asked, and under which system prompts.
        responses: What they answered.
        proposer: Writes prompts for the search; without one words are recombined.
        seed: Of the prompts chosen and of the search.
        progress: Told what is going on.

    Raises:
        ModelError: The models have different tokenizers.
    """
    a, b = models
    chosen = _some(task.questions, TEXTS, seed, "texts")
    asked = [side.chats(chosen) for side in task.sides]
    what = "contrastive text"
    progress(what, 0, 2)
    forth = contrast(
        a, b, asked[1], chats_a=asked[0], strength=STRENGTH, cut=CUT, max_tokens=LONGEST
    )
    progress(what, 1, 2)
    back = contrast(
        b, a, asked[0], chats_a=asked[1], strength=STRENGTH, cut=CUT, max_tokens=LONGEST
    )
    progress(what, 2, 2)
    return {
        "schema": SCHEMA,
        "strength": STRENGTH,
        "cut": CUT,
        "b_not_a": _texts(chosen, forth),
        "a_not_b": _texts(chosen, back),
        "tokens": _tokens(models, task, responses, seed, progress),
        "prompts": _prompts(models, task, proposer, seed, progress),
    }


def _some(
    questions: Sequence[Question], count: int, seed: int, purpose: str
) -> tuple[Question, ...]:
    rng = np.random.default_rng(derive(seed, "partings", purpose))
    order = np.sort(rng.permutation(len(questions))[:count])
    return tuple(questions[k] for k in order)


def _texts(questions: Sequence[Question], said: Sequence[Contrast]) -> list[dict[str, Any]]:
    return [
        {
            "prompt_id": question.id,
            "prompt": question.text,
            "text": one.text,
            "tokens": list(one.tokens),
            "gaps": [round(float(gap), 3) for gap in one.gaps],
        }
        for question, one in zip(questions, said, strict=True)
    ]


def _tokens(
    models: tuple[TorchModel, TorchModel],
    task: Task,
    responses: tuple[Responses, Responses],
    seed: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Score both sides' own answers by both models."""
    progress("tokens on which they part", 0, 1)
    chosen = _some(task.questions, TOKENS, seed, "tokens")
    chats = [side.chats(chosen) for side in task.sides]
    rows: list[dict[str, Any]] = []
    for letter, answers in zip("ab", responses, strict=True):
        at = {prompt_id: k for k, prompt_id in enumerate(answers.ids)}
        said = [answers.texts[at[q.id]][0] for q in chosen]
        rows += [
            {
                "prompt_id": chosen[one.chat].id,
                "answer_of": letter,
                "before": one.before[-BEFORE:],
                "token": one.token,
                "gap": round(one.gap, 3),
            }
            for one in divergent_tokens(*models, chats[1], said, SHOWN, chats_a=chats[0])
        ]
    progress("tokens on which they part", 1, 1)
    return sorted(rows, key=lambda row: -abs(row["gap"]))[:SHOWN]


def _prompts(
    models: tuple[TorchModel, TorchModel],
    task: Task,
    proposer: LanguageModel | None,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Search prompts, then measure them again: the best of many estimates is too good."""
    begin = _some([q for q in task.questions if len(q.chat) == 1], BEGIN, seed, "search")
    if not begin:
        return {"ordinary": None, "found": []}
    systems = (task.sides[0].system, task.sides[1].system)
    sampling = Sampling(max_tokens=24, temperature=1.0, seed=derive(seed, "partings", "answers"))
    texts = [q.text for q in begin]
    found = search_prompts(
        *models,
        texts,
        rounds=2,
        width=16,
        proposer=proposer,
        sampling=sampling,
        systems=systems,
        progress=progress,
    )
    what = "measuring these prompts again"
    progress(what, 0, 1)
    afresh = sampling.seeded(derive(seed, "partings", "again"))
    asked = [one.prompt for one in found]
    measured = divergences(*models, [*asked, *texts], afresh, systems)
    progress(what, 1, 1)
    rows = [
        {
            "prompt": one.prompt,
            "divergence": round(again[0], 4),
            "when_found": round(one.divergence, 4),
            "answer_a": again[1],
            "answer_b": again[2],
            "round": one.round,
        }
        for one, again in zip(found, measured, strict=False)
    ]
    return {
        "ordinary": round(float(np.mean([row[0] for row in measured[len(asked) :]])), 4),
        "found": sorted(rows, key=lambda row: -row["divergence"]),
    }
