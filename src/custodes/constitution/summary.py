"""The summary of a run: the outcome in a sentence, the controls, and what every stage measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from custodes.constitution.config import STAGES
from custodes.constitution.context import AlignRun
from custodes.control import Control, ordered

__all__ = ["SCHEMA", "outcome_of", "summarise"]

SCHEMA = 1


def summarise(run: AlignRun, stopped: str, *, complete: bool) -> dict[str, Any]:
    """Gather the results of all finished steps.

    Args:
        run: The run.
        stopped: Why a gate stopped the pipeline, "" if none did.
        complete: Whether all stages that were asked for have finished, or a gate stopped them.

    Returns:
        JSON-ready; the content of summary.json.
    """
    steps = _finished(run)
    reports = [step for step in steps.values() if step["stage"] == "report"]
    # The models were compared again once there were more of them.
    steps = {k: v for k, v in steps.items() if v["stage"] != "report" or v is reports[-1]}
    controls = []
    for key, step in steps.items():
        for row in step["controls"]:
            control = Control.from_dict(row)
            plain = key == step["stage"] or step["stage"] == "report"
            controls.append(control if plain else control.about(key))
    report = reports[-1]["facts"] if reports else None
    failed = [control.name for control in controls if control.passed is False]
    return {
        "schema": SCHEMA,
        "name": run.config.name,
        "seed": run.config.seed,
        "inverted": run.config.inverted,
        "constitution": run.constitution.name,
        "principles": [
            {"id": p.id, "topic": p.topic, "question": p.question}
            for p in run.constitution.principles
        ],
        "worker": run.config.worker.model,
        "complete": complete and not stopped,
        "stopped": stopped,
        "outcome": outcome_of(report, stopped, list(steps), inverted=run.config.inverted),
        "passed": complete and not stopped and not failed,
        "failed": failed,
        "controls": [control.to_dict() for control in ordered(controls)],
        "stages": {key: {k: step[k] for k in ("stage", "arm", "round", "facts", "stop")}
                   for key, step in steps.items()},
        "report": report,
        "checkpoints": [
            {k: event[k] for k in ("checkpoint", "adapter", "parent", "intervention")}
            for event in run.folder.log.of("checkpoint")
        ],
    }  # fmt: skip


def _finished(run: AlignRun) -> dict[str, dict[str, Any]]:
    """Return the results of the finished steps, in the order of the pipeline."""
    steps = {path.stem: run.store.get(path.stem) for path in run.store.folder.glob("*.json")}

    def place(key: str) -> tuple[Any, ...]:
        step = steps[key]
        in_rounds = STAGES.index(step["stage"]) in range(3, 6)
        arm = (step["arm"], step["round"]) if in_rounds else ("", 0)
        late = 1 if in_rounds else 2 if step["stage"] == "report" else 0
        return (late, *arm, STAGES.index(step["stage"]), len(key), key)

    return {key: steps[key] for key in sorted(steps, key=place)}


def outcome_of(
    report: Mapping[str, Any] | None, stopped: str, steps: Sequence[str], *, inverted: bool
) -> str:
    """Say what came of the run, in a sentence or two."""
    prefix = "Model organism (inverted principles). " if inverted else ""
    if stopped:
        return f"{prefix}Stopped at {stopped}. gate=continue goes on all the same."
    if report is None:
        names = ", ".join(steps) or "nothing"
        return f"{prefix}Finished so far: {names}. The models have not been compared."
    titles = {"yes": "Shown", "no": "The opposite is shown of", "not shown": "Not shown"}
    sentences = []
    for verdict, title in titles.items():
        own = [c for c in report["claims"] if c["verdict"] == verdict]
        listed = "; ".join(f"{c['statement']} ({c['explanation']})" for c in own)
        if own:
            sentences.append(f"{title}: {listed}.")
    return prefix + " ".join(sentences)
