"""Drift of a lineage: every generation against the first, tested after each generation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from custodes.control import Control
from custodes.diff.responses import Responses
from custodes.diff.sampling import respond
from custodes.drift.display import DriftDisplay
from custodes.drift.e_values import BettingProcess, Detectable, detectable_drift
from custodes.drift.monitor import Behaviour, Monitor
from custodes.errors import DataError
from custodes.models.base import LanguageModel, Sampling
from custodes.seeds import derive

__all__ = [
    "NOT_REQUESTED",
    "AARun",
    "Drift",
    "Sampler",
    "concept_control",
    "drift",
    "follow",
    "questionnaire_controls",
    "round_seed",
]

NOT_REQUESTED = "not requested"
"""Why the concepts are left out if nobody asked for them."""

Sampler = Callable[[int, int, str], Responses]
"""Gives a generation's responses to all prompts: (generation, round, purpose).

The purpose is "" or "again", for the A/A run. The first and the later generation may share random
numbers within a round; different rounds and purposes may not.
"""


@dataclass(frozen=True)
class AARun:
    """The A/A run: a lineage in which every generation is the first one, under other seeds.

    Attributes:
        control: Whether nothing drifts in it.
        fresh: Whether every round used new responses of the first generation.
        detected: Behaviours whose drift was detected at any generation; expected none.
        behaviours: All behaviours, with their effects and e-values.
        repeated: Largest share of prompts that the first generation answered as in an earlier
            round, in [0, 1]. At 1, responses were used twice (the model draws nothing, or a cache
            answered), and the sampling noise of one round counts as evidence again and again.
    """

    control: Control
    fresh: Control
    detected: tuple[str, ...]
    behaviours: tuple[Behaviour, ...]
    repeated: float


@dataclass(frozen=True, repr=False)
class Drift(DriftDisplay):
    """The result for a lineage.

    Attributes:
        names: Names of the generations, the first included.
        parents: Number of each generation's parent, None for the first.
        prompts: Number of prompts in each round.
        samples: Responses to each prompt in each round.
        fdr: Level of e-BH, which holds at whatever generation the lineage ends.
        behaviours: All behaviours: those that drifted first, by falling e-value.
        aa_run: The A/A run, with its controls.
        threshold: Natural log of the e-value that a single behaviour needs.
        detectable: The smallest rises that could have been detected.
        rounds: By generation from 1, the first generation's responses of that round, and its own.
        shown: By generation from 1, how much more often each behaviour is shown, by prompt.
        statements: The behaviours, in the order of ``shown``.
        about: Further facts about each generation, JSON-ready; may be empty.
        concepts: Content of drift.json's ``concepts``, None if they were not read.
        questionnaire: Content of drift.json's ``questionnaire``, None if nothing was asked.
        notes: What a reader should know, one line each.
    """

    names: tuple[str, ...]
    parents: tuple[int | None, ...]
    prompts: int
    samples: int
    fdr: float
    behaviours: tuple[Behaviour, ...]
    aa_run: AARun
    threshold: float
    detectable: tuple[Detectable, ...]
    rounds: tuple[tuple[Responses, Responses], ...] = ()
    shown: tuple[sparse.csc_matrix, ...] = ()
    statements: tuple[str, ...] = ()
    about: tuple[Mapping[str, Any], ...] = ()
    concepts: Mapping[str, Any] | None = None
    questionnaire: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def drifted(self) -> tuple[Behaviour, ...]:
        """Behaviours whose drift was detected at some generation."""
        return tuple(b for b in self.behaviours if b.detected_at is not None)

    @property
    def controls(self) -> tuple[Control, ...]:
        """The A/A run, new responses in every round, concepts read again, the questionnaire."""
        concepts = concept_control(self.concepts)
        return (
            self.aa_run.control,
            self.aa_run.fresh,
            *([concepts] if concepts else []),
            *questionnaire_controls(self.questionnaire),
        )

    def differences(self, statement: str, at: int) -> NDArray[np.float64]:
        """Return by prompt how much more often ``shown[at]`` has a behaviour, in [-1, 1]."""
        column = self.shown[at][:, self.statements.index(statement)]
        return np.asarray(column.toarray(), np.float64).ravel()


def drift(
    models: Sequence[LanguageModel],
    prompts: Sequence[tuple[str, str]],
    sampling: Sampling,
    *,
    fdr: float = 0.1,
    names: Sequence[str] | None = None,
) -> Drift:
    """Compare every generation of loaded models with the first and with the one before.

    Args:
        models: The lineage, the first generation first; at least two.
        prompts: Pairs of (id, prompt).
        sampling: Sampling parameters; every round derives seeds of its own from the seed.
        fdr: Level, in (0, 1).
        names: Names of the generations, by default their models' names.

    Raises:
        DataError: There are fewer than two generations, or no prompts.
    """
    if not prompts:
        raise DataError("no prompts", "drift needs some")

    def sample(generation: int, number: int, purpose: str) -> Responses:
        seed = round_seed(sampling.seed, number, purpose)
        return respond(models[generation], prompts, sampling.seeded(seed))

    parents = [None, *range(len(models) - 1)]
    return follow(sample, names or [m.name for m in models], parents, fdr=fdr)


def round_seed(seed: int, number: int, purpose: str) -> int:
    """Return the seed of one round, the same for both generations that it compares."""
    # With one seed in a round, both generations give the same answer wherever they would.
    return derive(seed, "drift", number, *([purpose] if purpose else []))


def follow(
    sample: Sampler,
    names: Sequence[str],
    parents: Sequence[int | None],
    *,
    fdr: float = 0.1,
) -> Drift:
    """Compare every generation with the first and with its parent, in order.

    Args:
        sample: Gives the responses; called in the same order every time.
        names: Names of the generations; at least two.
        parents: Number of each generation's parent, None for the first.
        fdr: Level, in (0, 1).

    Raises:
        DataError: There are fewer than two generations.
    """
    if len(names) < 2:
        raise DataError(
            f"{len(names)} generations", "drift needs a first generation and at least one more"
        )
    monitor, aa_monitor = Monitor(fdr), Monitor(fdr)
    detected: set[str] = set()
    rounds: list[tuple[Responses, Responses]] = []
    for t in range(1, len(names)):
        first, now, again = sample(0, t, ""), sample(t, t, ""), sample(0, t, "again")
        rounds.append((first, now))
        # A parent other than the first answered in its own round. This comparison is between two
        # rounds, and so it is no part of the evidence.
        parent = parents[t]
        monitor.add(first, now, rounds[parent - 1][1] if parent else None)
        detected.update(aa_monitor.add(first, again))
    prompts = len(rounds[0][0].ids)
    return Drift(
        names=tuple(names),
        parents=tuple(parents),
        prompts=prompts,
        samples=max(map(len, rounds[0][0].texts)),
        fdr=fdr,
        behaviours=monitor.behaviours(),
        aa_run=AARun(
            control=_aa_control(sorted(detected), prompts * len(rounds), monitor.threshold),
            fresh=_fresh_control(monitor.repeated, len(rounds)),
            detected=tuple(sorted(detected)),
            behaviours=aa_monitor.behaviours(),
            repeated=monitor.repeated,
        ),
        threshold=monitor.threshold,
        detectable=tuple(detectable_drift(prompts, len(rounds), monitor.threshold)),
        rounds=tuple(rounds),
        shown=tuple(rates.differences for rates in monitor.rounds),
        statements=tuple(indicator.statement for indicator in monitor.indicators),
    )


def _aa_control(detected: Sequence[str], bets: int, threshold: float) -> Control:
    name = "A/A run"
    largest = float(BettingProcess(1).bet(sparse.csc_matrix(np.ones((bets, 1))))[0])
    if largest < threshold:
        return Control.not_tested(
            name,
            f"{bets} prompts in all rounds cannot give an e-value that is large enough, "
            "so nothing could be detected",
        )
    explanation = (
        f"the first generation compared with itself drifts in {len(detected)} behaviours; "
        "expect false ones"
        if detected
        else "the first generation compared with itself in every round does not drift"
    )
    return Control(name, not detected, explanation, {"detected": len(detected)})


def _fresh_control(repeated: float, rounds: int) -> Control:
    name = "new responses in every round"
    if rounds < 2:
        return Control.not_tested(name, "there is only one round")
    passed = repeated < 1
    explanation = (
        f"at most {repeated:.0%} of the first generation's responses in a round equal those of "
        "an earlier round"
        if passed
        else "the first generation gave the same responses in two rounds, so its sampling noise "
        "counts as evidence twice"
    )
    return Control(name, passed, explanation, {"repeated": repeated})


def questionnaire_controls(questionnaire: Mapping[str, Any] | None) -> list[Control]:
    """Return the controls of the questionnaire; none if it was not asked for.

    Args:
        questionnaire: Content of drift.json's ``questionnaire``.
    """
    if questionnaire is None or questionnaire.get("left_out") == NOT_REQUESTED:
        return []
    if "controls" not in questionnaire:
        return [Control.not_tested("questionnaire", str(questionnaire.get("left_out")))]
    rows = map(Control.from_dict, questionnaire["controls"])
    return [replace(one, name=f"questionnaire: {one.name}") for one in rows]


def concept_control(concepts: Mapping[str, Any] | None) -> Control | None:
    """Return the control of the concepts; None if they were not asked for.

    Args:
        concepts: Content of drift.json's ``concepts``.
    """
    name = "concepts read again"
    if concepts is None or concepts.get("left_out") == NOT_REQUESTED:
        return None
    if "control" not in concepts:
        return Control.not_tested(name, str(concepts.get("left_out", "the concepts were not read")))
    moved, largest = concepts["control"]["findings"], concepts["control"]["largest"]
    return Control(
        name,
        not moved,
        f"read a second time, {moved} pairs of concepts of the first generation moved "
        f"(largest change {largest:.2g}); none may",
        {"moved": moved, "largest": largest},
    )
