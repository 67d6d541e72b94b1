"""Answers of a model to the questions of a diff, kept in a response file as they come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from custodes.diff.plan import Question, Side
from custodes.diff.responses import Responses
from custodes.errors import RunError
from custodes.models.base import LanguageModel
from custodes.progress import Progress
from custodes.runs.log import Log
from custodes.seeds import derive
from custodes.text import one_line

__all__ = ["answer", "complete"]

# Requests in one batch: enough to fill an engine; at most this much is asked again after a crash.
BATCH = 64


def answer(
    side: Side,
    questions: tuple[Question, ...],
    path: Path,
    load: Callable[[], LanguageModel],
    progress: Progress,
) -> Responses:
    """Ask a side's model all questions, or what is left of them.

    Batches are cut the same way every time and each has a seed of its own, the same on both sides:
    what two models would say alike they then say alike, a repeated prompt is drawn anew, and a diff
    that was killed gets the answers it would have had.

    Args:
        side: Who answers, and how.
        questions: In the order of the file.
        path: The response file; what it holds already is not asked again.
        load: Gives the model; not called where nothing is left to ask.
        progress: Told after every batch.

    Raises:
        RunError: The file holds answers to other questions.
        EndpointError, ModelError: The model could not answer; what it did answer is kept.
    """
    n = side.sampling.n
    per_batch = max(1, BATCH // n)
    what = f"{side.letter.upper()} answers ({one_line(side.label, 50)})"
    with Log(path) as file:
        done = len(file.rows) // n if len(file.rows) < len(questions) * n else len(questions)
        if done < len(questions):
            done -= done % per_batch
        file.keep(done * n)
        _check(file.rows, questions, n, path)
        progress(what, done, len(questions))
        for number, batch in enumerate(_batches(questions, per_batch)):
            if number * per_batch < done:
                continue
            seed = derive(side.sampling.seed, "answers", number)
            texts = load().generate(side.chats(batch), side.sampling.seeded(seed))
            file.append(_rows(batch, texts))
            done += len(batch)
            progress(what, done, len(questions))
        rows = file.rows
    answers = [tuple(row["response"] for row in part) for part in _batches(rows, n)]
    notes = _notes(side, answers)
    return Responses(
        side.label,
        tuple(q.id for q in questions),
        tuple(q.text for q in questions),
        tuple(answers),
        notes,
    )


def complete(path: Path, questions: tuple[Question, ...], n: int) -> bool:
    """Return whether a response file needs no model any more."""
    if not path.exists():
        return False
    with Log(path) as file:
        return len(file.rows) >= len(questions) * n


def _batches(items: Any, size: int) -> Any:
    return (items[at : at + size] for at in range(0, len(items), size))


def _rows(batch: tuple[Question, ...], texts: list[list[str]]) -> list[dict[str, str]]:
    return [
        {"prompt_id": question.id, "prompt": question.text, "response": text}
        for question, answers in zip(batch, texts, strict=True)
        for text in answers
    ]


def _check(rows: list[dict[str, Any]], questions: tuple[Question, ...], n: int, path: Path) -> None:
    for k, row in enumerate(rows):
        asked = questions[k // n]
        if row.get("prompt_id") != asked.id or not isinstance(row.get("response"), str):
            raise RunError(
                f"{path} line {k + 1} is no answer to {asked.id!r}",
                "choose another folder with --out, or delete this one",
            )


def _notes(side: Side, answers: list[tuple[str, ...]]) -> tuple[str, ...]:
    total = sum(map(len, answers))
    empty = sum(not text.strip() for texts in answers for text in texts)
    if not empty:
        return ()
    return (f"{side.label}: {empty} of {total} responses are empty; they count as responses",)
