"""Structural surprise: a point whose Worker says other things than the Workers around it.

A measure may be what the neighbours say while the answers are not: as harmless, but in another way.
For each point, the answers of its last checkpoint to the gold prompts are held against those of its
neighbours by `custodes.diff`: on each prompt, against the answer of one neighbour, drawn at random,
so that the two are exchangeable where nothing differs. The global p-values of all points go through
Benjamini and Hochberg, and what was flagged is compared once more with neighbours that were not:
beside a strange point everybody is. What differs is said in the words of the diff's findings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from custodes.diff.responses import Responses
from custodes.errors import CustodesError
from custodes.progress import Progress, silent
from custodes.sweep.surprise import adjusted

__all__ = ["Structure", "read_answers", "structure", "structure_of"]

FEWEST = 12
"""Prompts that a point needs in common with its neighbours."""
SHOWN = 5
"""Findings that are kept of a point."""


@dataclass(frozen=True)
class Structure:
    """What a point's Worker says against what its neighbours' say.

    Attributes:
        point: Number of the point.
        prompts: Prompts compared.
        p: Of the diff's global test.
        q: The same after Benjamini and Hochberg over all points.
        flagged: Whether ``q`` is at most the rate asked for.
        findings: What differs, in words; at most five.
    """

    point: int
    prompts: int
    p: float
    q: float
    flagged: bool
    findings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return asdict(self) | {"findings": list(self.findings)}


def read_answers(folder: Path) -> Responses | None:
    """Read the answers of a run's last checkpoint to the gold prompts; None where it has none."""
    from custodes.oversight.events import GoldEvent, StartEvent, decode
    from custodes.runs.events import read_events

    prompts: dict[str, str] = {}
    texts: dict[str, str] = {}
    for row in read_events(folder / "events.jsonl"):
        if row["kind"] not in (StartEvent.kind, GoldEvent.kind):
            continue
        event = decode(row)
        if isinstance(event, StartEvent):
            prompts = {prompt.id: prompt.text for prompt in event.gold_prompts}
        elif isinstance(event, GoldEvent):
            for measured in event.domains.values():
                texts |= dict(zip(measured.ids, measured.texts, strict=True))
    ids = [name for name in prompts if name in texts]
    if not ids:
        return None
    return Responses(
        folder.name,
        tuple(ids),
        tuple(prompts[name] for name in ids),
        tuple((texts[name],) for name in ids),
    )


def structure_of(
    result: Mapping[str, Any],
    folder: Path,
    *,
    rate: float,
    seed: int = 0,
    progress: Progress = silent,
) -> list[Structure]:
    """Compare the points of a finished map, by the first run of each that is done.

    Args:
        result: What ``phases.json`` holds.
        folder: Of the sweep.
        rate: False discovery rate aimed at, in (0, 1).
        seed: See `structure`.
        progress: Called after each point.
    """
    rows = {row["run"]: row for row in result["runs"]}
    answers = {}
    for number, point in enumerate(result["points"]):
        done = [rows[run] for run in point["runs"] if rows[run]["status"] == "done"]
        own = read_answers(folder / done[0]["folder"]) if done else None
        if own is not None:
            answers[number] = own
    return structure(answers, result["neighbours"], rate=rate, seed=seed, progress=progress)


def structure(
    answers: Mapping[int, Responses],
    neighbours: Sequence[Sequence[int]],
    *,
    rate: float = 0.05,
    seed: int = 0,
    progress: Progress = silent,
) -> list[Structure]:
    """Hold what each point's Worker says against what its neighbours' say.

    Args:
        answers: By point; points without answers are left out.
        neighbours: Of every point.
        rate: False discovery rate aimed at, in (0, 1).
        seed: Draws the neighbours, and everything in the diffs.
        progress: Called after each point.

    Returns:
        One row for each point that shares enough prompts with its neighbours.
    """
    rng = np.random.default_rng(seed)
    order = sorted(answers)
    found: dict[int, Structure] = {}
    for done, point in enumerate(order):
        progress("what Workers say", done, len(order))
        near = [answers[i] for i in neighbours[point] if i in answers]
        row = _compared(point, answers[point], near, rng, seed)
        if row is not None:
            found[point] = row
    found = _adjusted(found, rate)
    # Whoever differs from one strange neighbour only is not strange.
    strange = {point for point, row in found.items() if row.flagged}
    for point in strange:
        near = [answers[i] for i in neighbours[point] if i in answers and i not in strange]
        again = _compared(point, answers[point], near, rng, seed)
        if again is not None:
            found[point] = replace(again, p=max(again.p, found[point].p))
    return list(_adjusted(found, rate).values())


def _compared(
    point: int, own: Responses, near: Sequence[Responses], rng: np.random.Generator, seed: int
) -> Structure | None:
    """Compare a point with its neighbours; None where there is too little to compare."""
    from custodes.diff.compare import compare

    pair = _against(own, near, rng)
    if pair is None:
        return None
    try:
        diff = compare(*pair, seed=seed)
    except CustodesError:
        # Nothing varies, such as where all answers are empty.
        return None
    said = tuple(finding.statement for finding in diff.findings[:SHOWN])
    return Structure(point, len(pair[0].ids), diff.global_test.p, 1.0, False, said)


def _adjusted(rows: Mapping[int, Structure], rate: float) -> dict[int, Structure]:
    q = adjusted(np.array([row.p for row in rows.values()]))
    return {
        point: replace(row, q=float(value), flagged=bool(value <= rate))
        for (point, row), value in zip(rows.items(), q, strict=True)
    }


def _against(
    own: Responses, others: Sequence[Responses], rng: np.random.Generator
) -> tuple[Responses, Responses] | None:
    """Return one neighbour's answer to each prompt, and the point's own."""
    texts = [dict(zip(other.ids, other.texts, strict=True)) for other in others]
    rows = []
    for i, name in enumerate(own.ids):
        known = [text[name] for text in texts if name in text]
        if known:
            rows.append((i, known[int(rng.integers(len(known)))][0]))
    if len(rows) < FEWEST:
        return None
    ids = tuple(own.ids[i] for i, _ in rows)
    prompts = tuple(own.prompts[i] for i, _ in rows)
    near = Responses("neighbours", ids, prompts, tuple((text,) for _, text in rows))
    mine = Responses("here", ids, prompts, tuple(own.texts[i][:1] for i, _ in rows))
    return near, mine
