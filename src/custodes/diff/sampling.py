"""Responses of models to the prompts of a diff: in memory, or kept in a response file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from custodes.conversation import Query, user_chat
from custodes.diff.plan import Side
from custodes.diff.responses import Responses
from custodes.errors import RunError
from custodes.models.base import LanguageModel, Sampling
from custodes.progress import Progress
from custodes.runs.log import Log
from custodes.seeds import derive
from custodes.text import one_line

__all__ = ["complete", "respond", "sample_side"]

# Responses in one batch: enough to fill an engine. A crash loses at most one batch.
BATCH = 64

Item = TypeVar("Item")


def respond(
    model: LanguageModel,
    prompts: Sequence[tuple[str, str]],
    sampling: Sampling,
    *,
    name: str | None = None,
    system: str | None = None,
) -> Responses:
    """Give a model every prompt, ``sampling.n`` times, in one batch.

    Two models may be compared under the same seed. If the engine draws each prompt with random
    numbers of its own, they then give the same answer wherever they would, and fewer prompts
    differ by chance. To compare a model with itself (A/A), use different seeds.

    Args:
        model: The model that answers.
        prompts: Pairs of (id, prompt); ids are distinct.
        sampling: Sampling parameters.
        name: Name of this side in reports, by default the model's name.
        system: System prompt before each prompt.
    """
    texts = model.generate([user_chat(prompt, system) for _, prompt in prompts], sampling)
    return Responses(
        name=name or model.name,
        ids=tuple(i for i, _ in prompts),
        prompts=tuple(prompt for _, prompt in prompts),
        texts=tuple(tuple(t) for t in texts),
    )


def sample_side(
    side: Side,
    queries: tuple[Query, ...],
    path: Path,
    load: Callable[[], LanguageModel],
    progress: Progress,
) -> Responses:
    """Give one side's model all prompts that its response file has no answer to.

    Batches are the same in every run, and each has a seed of its own, equal on both sides. So two
    models give the same answer wherever they would, a prompt that occurs twice is drawn anew, and
    a diff that was killed ends with the responses it would have had.

    Args:
        side: The model, its system prompt and sampling parameters.
        queries: In the order of the file.
        path: The response file.
        load: Loads the model; not called if the file is complete.
        progress: Called after every batch.

    Raises:
        RunError: The file holds answers to other prompts.
        EndpointError, ModelError: The model could not answer; finished batches are kept.
    """
    n = side.sampling.n
    per_batch = max(1, BATCH // n)
    task = f"{side.letter.upper()} answers ({one_line(side.label, 50)})"
    with Log(path) as file:
        done = len(file.rows) // n if len(file.rows) < len(queries) * n else len(queries)
        if done < len(queries):
            done -= done % per_batch
        file.keep(done * n)
        _check(file.rows, queries, n, path)
        progress(task, done, len(queries))
        for number, batch in enumerate(_batches(queries, per_batch)):
            if number * per_batch < done:
                continue
            seed = derive(side.sampling.seed, "answers", number)
            texts = load().generate(side.chats(batch), side.sampling.seeded(seed))
            file.append(_rows(batch, texts))
            done += len(batch)
            progress(task, done, len(queries))
        rows = file.rows
    responses = tuple(tuple(row["response"] for row in batch) for batch in _batches(rows, n))
    return Responses(
        name=side.label,
        ids=tuple(query.id for query in queries),
        prompts=tuple(query.transcript for query in queries),
        texts=responses,
        notes=_notes(side, responses),
    )


def complete(path: Path, queries: tuple[Query, ...], n: int) -> bool:
    """Return whether a response file has ``n`` responses to every prompt."""
    if not path.exists():
        return False
    with Log(path) as file:
        return len(file.rows) >= len(queries) * n


def _batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _rows(queries: Sequence[Query], texts: list[list[str]]) -> list[dict[str, str]]:
    return [
        {"prompt_id": query.id, "prompt": query.transcript, "response": text}
        for query, responses in zip(queries, texts, strict=True)
        for text in responses
    ]


def _check(rows: list[dict[str, Any]], queries: tuple[Query, ...], n: int, path: Path) -> None:
    for k, row in enumerate(rows):
        query = queries[k // n]
        if row.get("prompt_id") != query.id or not isinstance(row.get("response"), str):
            raise RunError(
                f"{path} line {k + 1} is no answer to {query.id!r}",
                "choose another folder with --out, or delete this one",
            )


def _notes(side: Side, responses: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    total = sum(map(len, responses))
    empty = sum(not text.strip() for texts in responses for text in texts)
    if not empty:
        return ()
    return (f"{side.label}: {empty} of {total} responses are empty; they count as responses",)
