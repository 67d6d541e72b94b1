"""What is shown of the models' answers: the twin's on the same axis, diffs, and examples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from custodes.constitution.context import AlignRun
from custodes.diff.compare import compare
from custodes.diff.responses import Responses
from custodes.errors import CustodesError, RunError

__all__ = [
    "AGAIN", "CONSTITUTION", "HELP", "LOOK_ALIKES", "Answer", "Answers", "diffs", "examples",
    "read_twin", "write_responses",
]  # fmt: skip

CONSTITUTION, HELP, LOOK_ALIKES = "constitution", "helpful", "look_alikes"
AGAIN = "base again"
"""The base's answers under another seed: what differs between two models that are the same."""

FINDINGS = 3
CHARACTERS = 600


@dataclass(frozen=True)
class Answer:
    """A model's answer to a held-out prompt.

    Attributes:
        id: The prompt's id.
        prompt: The prompt.
        text: The answer, untrusted.
        score: The judge's, in logits; None on look-alikes, which nobody scores.
        raw: The same before it is turned round for an inverted principle.
    """

    id: str
    prompt: str
    text: str
    score: float | None
    raw: float | None


Answers = Mapping[str, Mapping[str, Sequence[Answer]]]
"""By model and prompt set."""


def read_twin(run: AlignRun) -> dict[str, dict[str, list[Answer]]]:
    """Read the answers of another run's last model, on this run's axis."""
    if run.config.report.twin is None:
        return {}
    folder = Path(run.config.report.twin)
    files = sorted((folder / "data").glob("held_out*.jsonl"))
    if not files:
        raise RunError(f"{folder} has no held-out answers", "run its stage report first")
    rows = [json.loads(line) for line in files[0].read_text(encoding="utf-8").splitlines()]
    trained = [row for row in rows if row["model"].startswith(("rl", "sl"))]
    last = max(
        trained, default=None, key=lambda r: r["checkpoint"] if r["model"].startswith("rl") else 0
    )
    if last is None:
        raise RunError(f"{folder} has no trained model", "run its stages sl and rl first")
    toward = run.constitution.principles[0].toward
    sign = 1.0 if toward == "more" else -1.0
    parts: dict[str, list[Answer]] = {}
    for row in rows:
        if row["model"] == last["model"]:
            raw = row["raw"]
            score = raw if raw is None or row["set"] == HELP else sign * raw
            one = Answer(row["id"], row["prompt"], row["response"], score, raw)
            parts.setdefault(row["set"], []).append(one)
    return {f"twin ({last['model']})": parts}


def write_responses(run: AlignRun, answers: Answers) -> None:
    """Write each model's answers as a response file, for `custodes diff`."""
    for name, parts in answers.items():
        run.write(f"responses-{name.replace(' ', '-')}", [
            {"prompt_id": one.id, "prompt": one.prompt, "response": one.text}
            for rows in parts.values()
            for one in rows
        ])  # fmt: skip


def diffs(answers: Answers, twins: Answers, seed: int) -> list[dict[str, Any]]:
    """List the first findings of a diff: SL against RL, base against SL, RL against the twin."""
    trained = [name for name in answers if name.startswith("rl")]
    pairs = [("base", "sl")] if "sl" in answers else []
    if trained:
        pairs.append(("sl" if "sl" in answers else "base", trained[-1]))
    everybody = {**answers, **twins}
    if twins:
        pairs += [(trained[-1] if trained else "sl", next(iter(twins)))]
    out = []
    for one, two in pairs:
        row: dict[str, Any] = {"a": one, "b": two}
        try:
            diff = compare(_responses(one, everybody), _responses(two, everybody), seed=seed)
        except (CustodesError, ModuleNotFoundError) as error:
            out.append({**row, "left_out": str(error)})
            continue
        row |= {
            "p": float(f"{diff.global_test.p:.4g}"),
            "findings": [finding.statement for finding in diff.findings[:FINDINGS]],
            "of": len(diff.findings),
            "aa_run": diff.aa_run.control.to_dict(),
        }
        out.append(row)
    return out


def _responses(name: str, answers: Answers) -> Responses:
    rows = [one for part in answers[name].values() for one in part]
    return Responses(
        name=name,
        ids=tuple(one.id for one in rows),
        prompts=tuple(one.prompt for one in rows),
        texts=tuple((one.text,) for one in rows),
    )


def examples(answers: Answers, count: int) -> list[dict[str, Any]]:
    """Show the answers of all models to some prompts, spread evenly over the set."""
    names = [name for name in answers if name != AGAIN]
    base = answers["base"][CONSTITUTION]
    places = np.unique(np.linspace(0, len(base) - 1, count).round().astype(int)).tolist()
    tables = {name: {one.id: one for one in answers[name][CONSTITUTION]} for name in names}
    return [
        {
            "prompt": base[i].prompt[:CHARACTERS],
            "answers": [
                {"model": n, "text": one.text[:CHARACTERS], "score": one.score}
                for n in names
                if (one := tables[n].get(base[i].id)) is not None
            ],
        }
        for i in places
    ]
