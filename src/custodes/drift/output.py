"""What a drift leaves behind: drift.json with a stable schema, and lines for a terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from custodes.diff.inference.effects import Effect
from custodes.diff.responses import Responses
from custodes.drift.lineage import Drift
from custodes.drift.monitor import Behaviour
from custodes.runs.files import write_json
from custodes.text import one_line

__all__ = ["SCHEMA", "drift_json", "lines", "save"]

SCHEMA = 1
WATCHED = 30
"""Behaviours written down beside those that drifted: the ones with most evidence."""

MOST_SHOWN = 25
EXAMPLES = 3
CHARACTERS = 1200
SPANS = 20


def drift_json(drift: Drift, about: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the content of ``drift.json``; docs/drift.md says what each field means."""
    control = {b.statement: b for b in drift.control.behaviours}
    rest = [b for b in drift.behaviours if b.certain is None][:WATCHED]
    known = dict(about or {})
    return {
        "schema": SCHEMA,
        "name": known.get("name", drift.names[-1]),
        "lineage": [dict(row) for row in drift.about]
        or [
            {"generation": i, "name": name, "parent": parent}
            for i, (name, parent) in enumerate(zip(drift.names, drift.parents, strict=True))
        ],
        "prompts": drift.prompts,
        "samples": drift.samples,
        "alpha": drift.fdr,
        "seed": known.get("seed"),
        "sampling": {k: known[k] for k in ("max_tokens", "temperature", "top_p") if k in known},
        "control": {
            "findings": len(drift.control.alarms),
            "statements": list(drift.control.alarms),
            "repeated": drift.control.repeated,
            "ok": drift.control.ok,
        },
        "looked_at": len(drift.behaviours),
        "threshold_log_e": drift.threshold,
        "drifted": [
            _behaviour(drift, b, control.get(b.statement)) | {"examples": _examples(drift, b)}
            for b in drift.drifted
        ],
        "watched": [_behaviour(drift, b, control.get(b.statement)) for b in rest],
        "detectable": [{"rate": d.rate, "rise": d.rise} for d in drift.detectable],
        "concepts": dict(drift.concepts or {"left_out": "not asked for"}),
        "notes": list(drift.notes),
    }


def _behaviour(drift: Drift, b: Behaviour, control: Behaviour | None) -> dict[str, Any]:
    """Write down one behaviour; the control has the same figures of the A/A run."""
    return {
        "statement": b.statement,
        "certain": b.certain,
        "still": b.still,
        "course": b.course,
        "log_e": list(b.log_e),
        "first": _against_first(b),
        "parent": [
            {"generation": t, "parent": drift.parents[t], **_effect(size)}
            for t, size in enumerate(b.steps, start=1)
        ],
        "control": None
        if control is None
        else {"log_e": list(control.log_e), "first": _against_first(control)},
    }


def _against_first(b: Behaviour) -> list[dict[str, Any]]:
    return [
        {"generation": t, **_effect(size), "always95": list(always)}
        for t, (size, always) in enumerate(zip(b.sizes, b.always, strict=True), start=1)
    ]


def _effect(size: Effect) -> dict[str, Any]:
    return {
        "rate_before": size.rate_a,
        "rate": size.rate_b,
        "effect": size.effect,
        "ci95": [size.low, size.high],
    }


def _examples(drift: Drift, b: Behaviour) -> list[dict[str, Any]]:
    """Return responses of the generation at which the behaviour was furthest from the first."""
    t = int(np.argmax([abs(size.effect) for size in b.sizes]))
    if not drift.rounds:
        return []
    first, now = drift.rounds[t]
    rows = []
    for k in _changed(drift, b, t)[:EXAMPLES]:
        row: dict[str, Any] = {
            "generation": t + 1,
            "prompt_id": first.ids[k],
            "prompt": first.prompts[k][:CHARACTERS],
        }
        for side, responses in (("first", first), ("now", now)):
            text = _shown(responses, k, b.pattern)
            row[side] = text[:CHARACTERS]
            row[f"spans_{side}"] = _spans(b.pattern, text)
        rows.append(row)
    return rows


def _changed(drift: Drift, b: Behaviour, t: int) -> list[int]:
    """Order prompts by how far they moved with the drift, those that did not being left out."""
    difference = drift.differences(b.statement, t) * np.sign(b.sizes[t].effect)
    order = np.argsort(-difference, kind="stable")
    return [int(k) for k in order if difference[k] > 0]


def _shown(responses: Responses, k: int, pattern: str) -> str:
    texts = responses.texts[k]
    return next((text for text in texts if pattern and re.search(pattern, text)), texts[0])


def _spans(pattern: str, text: str) -> list[list[int]]:
    if not pattern:
        return []
    found = re.finditer(pattern, text[:CHARACTERS])
    return [[m.start(), m.end()] for m in found if m.end() > m.start()][:SPANS]


def save(drift: Drift, folder: Path, *, about: Mapping[str, Any] | None = None) -> Path:
    """Write ``drift.json`` into a folder, whole or not at all.

    Raises:
        RunError: The folder cannot be written.
    """
    path = folder / "drift.json"
    write_json(path, drift_json(drift, about))
    return path


def lines(drift: Drift) -> Iterator[str]:
    """Say a drift in lines of plain text that are safe to print (with markup off)."""
    last = len(drift.names) - 1
    yield (
        f"{one_line(drift.names[0], 60)} and {last} later generations, {drift.prompts} prompts, "
        f"{drift.samples} responses each"
    )
    yield from _control_lines(drift)
    found = drift.drifted
    back = sum(b.course == "returned" for b in found)
    yield (
        f"{len(found)} of {len(drift.behaviours)} behaviours drift (alpha {drift.fdr:g}, at "
        f"whatever generation one stops); {back} came back"
    )
    for b in found[:MOST_SHOWN]:
        yield from _behaviour_lines(b)
    if len(found) > MOST_SHOWN:
        yield f"  … and {len(found) - MOST_SHOWN} more in drift.json"
    if not found:
        for one in drift.detectable:
            what = (
                "no rise would have been certain"
                if one.rise is None
                else f"a lasting rise of {100 * one.rise:.0f} points would have been certain in 4 "
                "of 5 lineages"
            )
            yield f"  of a behaviour that the first shows {one.rate:.0%} of the time, {what}"
    yield from _concept_lines(drift.concepts or {})
    yield from (f"note: {one_line(note)}" for note in drift.notes)


def _control_lines(drift: Drift) -> Iterator[str]:
    control = drift.control
    if control.alarms:
        yield (
            f"CONTROL FAILED: the A/A lineage, the first generation again and again, drifts in "
            f"{len(control.alarms)} behaviours; expect false ones below"
        )
        yield from (f"    {one_line(said)}" for said in control.alarms)
    if control.repeated >= 1:
        yield (
            "CONTROL FAILED: the first generation gave a whole round's responses twice; its luck "
            "counts as evidence below"
        )
    if control.ok:
        yield (
            f"control: the A/A lineage does not drift, as expected; at most "
            f"{control.repeated:.0%} of a round's responses were given before"
        )


def _behaviour_lines(b: Behaviour) -> Iterator[str]:
    size = b.sizes[-1]
    course = {
        "stays": "" if b.still else "; no longer certain",
        "recedes": "; on its way back",
        "returned": "; came back",
    }[b.course]
    yield f"  {one_line(b.statement)}: certain at generation {b.certain}{course}"
    low, high = b.always[-1]
    yield (
        f"      {_points(b.sizes)} points against the first; last "
        f"[{100 * low:+.0f}, {100 * high:+.0f}], {size.rate_a:.0%} → {size.rate_b:.0%}; "
        f"e = {_e(b.log_e[-1])}"
    )


def _points(sizes: tuple[Effect, ...]) -> str:
    return ", ".join(f"{100 * size.effect:+.1f}" for size in sizes)


def _e(log_e: float) -> str:
    """Write an e-value, which may be too large for a float."""
    power = log_e / math.log(10)
    return f"{math.exp(log_e):.3g}" if abs(power) < 6 else f"1e{power:+.0f}"


def _concept_lines(concepts: Mapping[str, Any]) -> Iterator[str]:
    if "generations" not in concepts:
        yield f"concepts: left out ({one_line(str(concepts.get('left_out', 'nobody looked')))})"
        return
    control, last = concepts["control"], concepts["generations"][-1]
    if control["findings"]:
        yield (
            f"CONTROL FAILED: the first generation read again has {control['findings']} concept "
            "pairs that moved"
        )
    moved = [row for row in last["pairs"] if row["drifted"]]
    yield f"concepts (layer {concepts['layer']}): {len(moved)} of {len(last['pairs'])} pairs moved"
    for row in moved[:5]:
        one, two = row["pair"]
        change = row["now"] - row["before"]
        yield (
            f"  {one_line(one, 40)} – {one_line(two, 40)}: cosine distance {row['before']:.4f} → "
            f"{row['now']:.4f} ({change:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}])"
        )
