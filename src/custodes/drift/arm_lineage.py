"""Measuring one lineage of an experiment: its gold score, stated values, concepts, behaviours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custodes.drift.arms import ArmLineage
from custodes.drift.concepts import ConceptShift, concept_shifts, hidden_means
from custodes.drift.generations import Generation, Lineage, read_generations
from custodes.drift.questionnaire.lineage import ask_lineage, digest, weights_key
from custodes.drift.questionnaire.statements import Statement
from custodes.errors import RunError
from custodes.progress import Progress, silent
from custodes.runs.events import read_events
from custodes.runs.store import Store

__all__ = ["gold_changes", "measure_arm"]

Floats = NDArray[np.float64]


def measure_arm(
    arm: str,
    seed: int,
    folder: Path,
    store: Store,
    *,
    statements: Sequence[Statement] = (),
    concepts: Mapping[str, Sequence[str]] | None = None,
    behaviours: int | None = None,
    progress: Progress = silent,
) -> ArmLineage:
    """Measure a finished run, from its first generation to its last.

    Args:
        arm: Name of the arm.
        seed: Its seed.
        folder: The run's folder.
        store: Keeps what was read by weights; lineages of one base share it.
        statements: The questionnaire; none to leave it out.
        concepts: Sentences by concept; none to leave them out.
        behaviours: Number of behaviours that drifted, if somebody counted.
        progress: Called with each stage.

    Raises:
        RunError: The run has no generations, or no gold score of its last one.
        ModelError: Torch cannot load a generation.
    """
    lineage = read_generations([str(folder)])
    readings = None
    if statements:
        readings = ask_lineage(lineage, statements, store, progress=progress)
    shifts: list[ConceptShift] = []
    if concepts:
        shifts = _concept_shifts(lineage, concepts, store, progress)
    return ArmLineage(
        arm=arm,
        seed=seed,
        gold=gold_changes(folder),
        readings=readings,
        concepts=shifts,
        behaviours=behaviours,
    )


def gold_changes(folder: Path) -> dict[str, Floats]:
    """Return by domain how each gold prompt's score changed from the first to the last checkpoint.

    Raises:
        RunError: The log has fewer than two gold scores, or they are of other prompts.
    """
    events = [e for e in read_events(folder / "events.jsonl") if e["kind"] == "gold"]
    if len(events) < 2:
        raise RunError(f"{folder} has no gold score of two checkpoints", "let the run finish")
    first, last = events[0]["domains"], events[-1]["domains"]
    changes = {}
    for domain, now in last.items():
        if now["ids"] != first[domain]["ids"]:
            raise RunError(f"{folder} scores other prompts at the end", "run it in a new folder")
        changes[domain] = np.array(now["scores"], float) - np.array(first[domain]["scores"], float)
    return changes


def _concept_shifts(
    lineage: Lineage,
    concepts: Mapping[str, Sequence[str]],
    store: Store,
    progress: Progress,
) -> list[ConceptShift]:
    """Compare the distances between concepts in the last generation with the first."""
    states = []
    for k, one in enumerate((lineage.generations[0], lineage.generations[-1])):
        progress("concepts", k, 2)
        key = f"{weights_key(one)}-{digest(dict(concepts))}"
        value = store.once(key, partial(_states, lineage, one, concepts))
        states.append({name: np.array(rows, np.float64) for name, rows in value.items()})
    progress("concepts", 2, 2)
    return concept_shifts(states[0], states[1])


def _states(
    lineage: Lineage, one: Generation, concepts: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    model = lineage.load_torch(one.number)
    # Two thirds up, as in `custodes.drift.run`.
    layer = round(2 * model.model.config.num_hidden_layers / 3)
    means = hidden_means(model, concepts, layer)
    return {name: np.round(rows, 6).tolist() for name, rows in means.items()}
