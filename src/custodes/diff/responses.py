"""Response files: read strictly, and aligned by prompt."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from custodes.errors import DataError

__all__ = ["Aligned", "Responses", "align", "read_responses", "responses_from_rows"]

FIELDS = ("prompt_id", "prompt", "response")
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


def read_responses(path: Path, name: str | None = None) -> Responses:
    """Read a response file: JSON lines with ``prompt_id``, ``prompt`` and ``response``.

    Several rows of one prompt are several responses to it. Other fields are left unread, and
    the notes say so.

    Raises:
        DataError: The file cannot be read, or a line is not such a row (the message has its
            number).
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read responses from {path} ({error.strerror})", "name a JSONL file"
        ) from error
    return responses_from_rows(_rows(raw.removeprefix(b"\xef\xbb\xbf"), path), name or path.name)


def _rows(raw: bytes, path: Path) -> Iterable[tuple[str, Mapping[str, object]]]:
    for number, line in enumerate(raw.split(b"\n"), start=1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            row = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise DataError(f"{where} is not UTF-8", "save the file as UTF-8") from error
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"{where} is not JSON", "write one JSON object a line") from error
        if not isinstance(row, dict):
            raise DataError(f"{where} is not a JSON object", f"give it {', '.join(FIELDS)}")
        yield where, row


def responses_from_rows(rows: Iterable[tuple[str, Mapping[str, object]]], name: str) -> Responses:
    """Check rows and gather them by prompt.

    Args:
        rows: Pairs of (where the row stands, for messages; the row).
        name: Name of this side in reports.

    Raises:
        DataError: A field is missing or has the wrong type, one id has two prompts, or there
            are no rows.
    """
    prompts: dict[str, str] = {}
    texts: dict[str, list[str]] = {}
    unread: set[str] = set()
    surrogates = empty = 0
    for where, row in rows:
        prompt_id, prompt, response = _fields(row, where)
        clean = response.encode("utf-8", "replace").decode("utf-8")
        surrogates += clean != response
        empty += not clean.strip()
        unread.update(key for key in row if key not in FIELDS)
        if prompts.setdefault(prompt_id, prompt) != prompt:
            raise DataError(
                f"{where} repeats prompt_id {prompt_id!r} with another prompt",
                "give different prompts different ids",
            )
        texts.setdefault(prompt_id, []).append(clean)
    if not prompts:
        raise DataError(f"{name} has no responses", "give it at least one row")
    total = sum(map(len, texts.values()))
    notes = []
    if empty:
        notes.append(f"{name}: {empty} of {total} responses are empty; they count as responses")
    if surrogates:
        notes.append(f"{name}: {surrogates} responses have broken characters, shown as '?'")
    if unread:
        notes.append(f"{name}: fields not read: {', '.join(sorted(unread)[:5])}")
    return Responses(
        name=name,
        ids=tuple(prompts),
        prompts=tuple(prompts.values()),
        texts=tuple(tuple(texts[i]) for i in prompts),
        notes=tuple(notes),
    )


def _fields(row: Mapping[str, object], where: str) -> tuple[str, str, str]:
    missing = [field for field in FIELDS if field not in row]
    if missing:
        has = ", ".join(sorted(map(repr, row))[:6]) or "nothing"
        raise DataError(f"{where} lacks {', '.join(missing)}", f"it has {has}")
    prompt_id, prompt, response = (row[field] for field in FIELDS)
    if isinstance(prompt_id, int) and not isinstance(prompt_id, bool):
        prompt_id = str(prompt_id)
    for field, value in zip(FIELDS, (prompt_id, prompt, response), strict=True):
        if not isinstance(value, str):
            raise DataError(
                f"{where} has a {field} that is {type(value).__name__}", "make it a string"
            )
    assert isinstance(prompt_id, str)
    assert isinstance(prompt, str)
    assert isinstance(response, str)
    if not prompt_id.strip():
        raise DataError(f"{where} has an empty prompt_id", "name every prompt")
    return (
        prompt_id.encode("utf-8", "replace").decode(),
        prompt.encode("utf-8", "replace").decode(),
        response,
    )


def align(a: Responses, b: Responses) -> Aligned:
    """Align two sets of responses by prompt.

    Shared prompts are pairs. Prompts that only one side answered are left out, and a note says
    so. If hardly any prompt is shared, different prompts are compared, which needs more prompts
    for the same power.

    Raises:
        DataError: One id stands for different prompts in A and B.
    """
    b_index = {prompt_id: j for j, prompt_id in enumerate(b.ids)}
    shared = [(i, b_index[x]) for i, x in enumerate(a.ids) if x in b_index]
    for i, j in shared:
        if a.prompts[i] != b.prompts[j]:
            raise DataError(
                f"prompt_id {a.ids[i]!r} is one prompt in {a.name} and another in {b.name}",
                "give different prompts different ids",
            )
    names = (a.name, b.name) if a.name != b.name else (f"A:{a.name}", f"B:{b.name}")
    notes = [*a.notes, *b.notes]
    smaller = min(len(a.ids), len(b.ids))
    paired = len(shared) >= min(smaller, max(FEWEST_SHARED, smaller / 10))
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


def _left_out(a: Responses, b: Responses, shared: int, names: tuple[str, str]) -> list[str]:
    return [
        f"{len(one.ids) - shared} prompts that only {name} answered are left out"
        for one, name in zip((a, b), names, strict=True)
        if len(one.ids) > shared
    ]
