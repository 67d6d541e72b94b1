"""Rows of a real batch as text, each token with its part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from custodes.preflight.result import TokenRow

if TYPE_CHECKING:
    from custodes.preflight.case import Case

__all__ = ["token_rows"]

_ROWS = 4
_TOKENS = 400


def token_rows(case: Case) -> tuple[TokenRow, ...]:
    """Decode the first rows of a batch: which tokens are trained, which are context."""
    tokenizer = case.subject.tokenizer
    ends = case.subject.end_ids

    def word(token: int) -> str:
        return str(tokenizer.decode([token], skip_special_tokens=False))

    found = []
    if case.subject.online:
        for place, one in enumerate(case.rollouts.answers[:_ROWS]):
            parts = ["trained" if on else "context" for on in one.reply]
            tokens = tuple(zip(map(word, one.ids[:_TOKENS]), parts, strict=False))
            found.append(TokenRow(f"completion {place}", tokens))
        return tuple(found)
    lines = case.batch.lines
    half = len(lines) // 2
    picked = lines[:_ROWS] if not case.subject.paired else [*lines[:2], *lines[half : half + 2]]
    for line in picked:
        marks = line.trained if case.subject.kind != "reward" else [True] * len(line.ids)
        parts = ["trained" if on else "context" for on in marks]
        trained = [i for i, on in enumerate(marks) if on]
        note = "no token is trained"
        if trained:
            last = line.ids[trained[-1]]
            note = f"the last trained token is {word(last)!r}" + (
                ", an end token" if last in ends else ", not an end token"
            )
        name = f"row {line.source}" + (f", {line.role}" if line.role else "")
        found.append(
            TokenRow(name, tuple(zip(map(word, line.ids[:_TOKENS]), parts, strict=False)), note)
        )
    return tuple(found)
