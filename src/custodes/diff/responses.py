"""Responses of two models, aligned by prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custodes.data.responses import prompt_hash, read_response_rows
from custodes.errors import DataError

__all__ = ["Aligned", "Responses", "align", "read_responses"]

# Fewer shared prompts than this, and less than a tenth of the smaller set, count as none.
FEWEST_SHARED = 3


@dataclass(frozen=True)
class Responses:
    """The responses of one model.

    Attributes:
        name: Name of this side in reports (a file name or a model name).
        ids: Prompt ids in order of first appearance, distinct.
        prompts: The prompt of each id.
        texts: At least one response for each id; untrusted, possibly empty.
        notes: Oddities of the file, one line each.
    """

    name: str
    ids: tuple[str, ...]
    prompts: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Aligned:
    """Two sets of responses over one list of units, a unit being a prompt.

    Attributes:
        names: Names of the sides, (A, B).
        ids: Prompt id of each unit.
        prompts: Prompt of each unit.
        texts: All responses, unit by unit and A before B within a unit.
        unit: Unit of each response, shape (len(texts),), ascending.
        side: 0 where A answered, 1 where B did, shape (len(texts),).
        paired: Whether both sides answered every unit. If not, each unit has one side only.
        notes: Prompts left out and oddities of the data, one line each.
    """

    names: tuple[str, str]
    ids: tuple[str, ...]
    prompts: tuple[str, ...]
    texts: tuple[str, ...]
    unit: NDArray[np.int64]
    side: NDArray[np.int8]
    paired: bool
    notes: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Number of units."""
        return len(self.ids)


def read_responses(
    source: Any,
    name: str | None = None,
    *,
    prompt_column: str | None = None,
    response_column: str | None = None,
) -> Responses:
    """Read the responses of one model.

    Several rows of one prompt are several responses to it. Columns that are left unread, empty
    responses and the like are in the notes.

    Args:
        source: A file, a list of dicts, a data frame or a data set: see
            `custodes.data.responses.read_response_rows`.
        name: Name of this side in reports; by default the file's.
        prompt_column: The column of the prompt; by default the first of the usual ones.
        response_column: The column of the response; likewise.

    Raises:
        DataError: The source cannot be read, a row is malformed (the message has its place), one id
            has two prompts, or there are no rows.
    """
    if name is None and isinstance(source, str | Path):
        name = Path(source).name
    table = read_response_rows(
        source,
        None if isinstance(source, str | Path) else name,
        prompt_column=prompt_column,
        response_column=response_column,
    )
    name = name or table.name
    prompts: dict[str, str] = {}
    texts: dict[str, list[str]] = {}
    surrogates = empty = 0
    for row in table.rows:
        clean = row.response.encode("utf-8", "replace").decode("utf-8")
        surrogates += clean != row.response
        empty += not clean.strip()
        if prompts.setdefault(row.prompt_id, row.prompt) != row.prompt:
            raise DataError(
                f"{row.where} repeats prompt_id {row.prompt_id!r} with another prompt",
                "give different prompts different ids",
            )
        texts.setdefault(row.prompt_id, []).append(clean)
    if not prompts:
        raise DataError(f"{name} has no responses", "give it at least one row")
    total = sum(map(len, texts.values()))
    notes = []
    if empty:
        notes.append(f"{name}: {empty} of {total} responses are empty; they count as responses")
    if surrogates:
        notes.append(f"{name}: {surrogates} responses have broken characters, shown as '?'")
    return Responses(
        name=name,
        ids=tuple(prompts),
        prompts=tuple(prompts.values()),
        texts=tuple(tuple(texts[i]) for i in prompts),
        notes=(*notes, *table.notes),
    )


def align(a: Responses, b: Responses) -> Aligned:
    """Align two sets of responses by prompt.

    Prompts are shared if their ids are the same; where the two sides have ids of their own, if
    their texts are. Shared prompts are pairs. Prompts that only one side answered are left out, and
    a note says so. If hardly any prompt is shared, different prompts are compared, which needs more
    prompts for the same power.

    Raises:
        DataError: One id stands for different prompts in A and B.
    """
    shared = _shared(a, b)
    unlike = [(i, j) for i, j in shared if a.prompts[i] != b.prompts[j]]
    if unlike or not _enough(a, b, len(shared)):
        one, two = _by_text(a), _by_text(b)
        by_text = _shared(one, two)
        if len(by_text) > len(shared) - len(unlike) and _enough(one, two, len(by_text)):
            note = "paired by the text of the prompts, since their ids differ"
            a, b, shared, unlike = one, replace(two, notes=(*two.notes, note)), by_text, []
    for i, _ in unlike:
        raise DataError(
            f"prompt_id {a.ids[i]!r} is one prompt in {a.name} and another in {b.name}",
            "give different prompts different ids",
        )
    names = (a.name, b.name) if a.name != b.name else (f"A:{a.name}", f"B:{b.name}")
    notes = [*a.notes, *b.notes]
    paired = _enough(a, b, len(shared))
    if paired:
        notes += _left_out(a, b, len(shared), names)
        units = [(a.ids[i], a.prompts[i], a.texts[i], b.texts[j]) for i, j in shared]
    else:
        common = {a.ids[i] for i, _ in shared}
        notes.append(
            f"the files share {len(shared)} prompts: compared as different prompts"
            + (", the shared ones left out" if shared else "")
        )
        units = [
            (x, p, t, ())
            for x, p, t in zip(a.ids, a.prompts, a.texts, strict=True)
            if x not in common
        ]
        units += [
            (x, p, (), t)
            for x, p, t in zip(b.ids, b.prompts, b.texts, strict=True)
            if x not in common
        ]
    texts: list[str] = []
    unit: list[int] = []
    side: list[int] = []
    for k, (_, _, texts_a, texts_b) in enumerate(units):
        texts += [*texts_a, *texts_b]
        unit += [k] * (len(texts_a) + len(texts_b))
        side += [0] * len(texts_a) + [1] * len(texts_b)
    return Aligned(
        names=names,
        ids=tuple(u[0] for u in units),
        prompts=tuple(u[1] for u in units),
        texts=tuple(texts),
        unit=np.array(unit, np.int64),
        side=np.array(side, np.int8),
        paired=paired,
        notes=tuple(notes),
    )


def _shared(a: Responses, b: Responses) -> list[tuple[int, int]]:
    b_index = {prompt_id: j for j, prompt_id in enumerate(b.ids)}
    return [(i, b_index[x]) for i, x in enumerate(a.ids) if x in b_index]


def _enough(a: Responses, b: Responses, shared: int) -> bool:
    smaller = min(len(a.ids), len(b.ids))
    return shared >= min(smaller, max(FEWEST_SHARED, smaller / 10))


def _by_text(responses: Responses) -> Responses:
    """Return the same responses with an id for each text of a prompt."""
    prompts: dict[str, str] = {}
    texts: dict[str, tuple[str, ...]] = {}
    for prompt, answers in zip(responses.prompts, responses.texts, strict=True):
        key = prompt_hash(prompt)
        prompts[key] = prompt
        texts[key] = texts.get(key, ()) + answers
    return replace(
        responses,
        ids=tuple(prompts),
        prompts=tuple(prompts.values()),
        texts=tuple(texts.values()),
    )


def _left_out(a: Responses, b: Responses, shared: int, names: tuple[str, str]) -> list[str]:
    return [
        f"{len(one.ids) - shared} prompts that only {name} answered are left out"
        for one, name in zip((a, b), names, strict=True)
        if len(one.ids) > shared
    ]
