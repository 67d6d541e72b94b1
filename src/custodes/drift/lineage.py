"""Drift: how a lineage of models moves away from its first, looked at after every generation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from custodes.diff.responses import Responses
from custodes.diff.sampling import respond
from custodes.drift.e_values import Detectable, detectable_drift
from custodes.drift.monitor import Behaviour, Monitor
from custodes.errors import DataError
from custodes.models.base import LanguageModel, Sampling
from custodes.seeds import derive

__all__ = ["Ask", "Control", "Drift", "drift", "follow", "round_seed"]

Ask = Callable[[int, int, str], Responses]
"""Asks a generation all prompts: (generation, round, purpose), purpose being "" or "again".

The first generation and the new one may share random numbers within a round; different rounds and
purposes may not.
"""


@dataclass(frozen=True)
class Control:
    """The A/A run: every generation is the first one, under other seeds.

    Attributes:
        alarms: Behaviours said to drift, at whatever generation; expected none.
        behaviours: All that were watched, with their effects and e-values.
        repeated: Largest share of prompts that the first generation answered as in an earlier
            round, in [0, 1]. At 1 a round's responses were used twice (a model that draws nothing,
            a cache), and what is called evidence is one round's luck, counted again.
    """

    alarms: tuple[str, ...]
    behaviours: tuple[Behaviour, ...]
    repeated: float

    @property
    def ok(self) -> bool:
        """Whether both halves held."""
        return not self.alarms and self.repeated < 1


@dataclass(frozen=True)
class Drift:
    """What became of a lineage.

    Attributes:
        names: Of the generations, the first included.
        parents: Of each, None for the first.
        prompts: How many each was asked.
        samples: Responses to each prompt in each round.
        fdr: Level of e-BH, which holds at whatever generation one stops.
        behaviours: All that were watched, those that drifted first, by e-value.
        control: The A/A run.
        threshold: Natural log of the e-value that a single behaviour needs.
        detectable: What could have been found at this size.
        rounds: By generation from 1: the first's responses of that round, and its own.
        shown: By generation from 1: how much more often each behaviour is shown, by prompt.
        statements: Of the behaviours, in the order of ``shown``.
        about: What else is known of the generations, JSON-ready, one for each; may be empty.
        concepts: Content of drift.json's ``concepts``, None where nobody looked.
        notes: One line each.
    """

    names: tuple[str, ...]
    parents: tuple[int | None, ...]
    prompts: int
    samples: int
    fdr: float
    behaviours: tuple[Behaviour, ...]
    control: Control
    threshold: float
    detectable: tuple[Detectable, ...]
    rounds: tuple[tuple[Responses, Responses], ...] = ()
    shown: tuple[sparse.csc_matrix, ...] = ()
    statements: tuple[str, ...] = ()
    about: tuple[Mapping[str, Any], ...] = ()
    concepts: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def drifted(self) -> tuple[Behaviour, ...]:
        """Behaviours that were certain to drift at some generation."""
        return tuple(b for b in self.behaviours if b.certain is not None)

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
        sampling: How to sample; every round derives seeds of its own from its seed.
        fdr: Level, in (0, 1).
        names: What to call the generations, by default their models' names.

    Raises:
        DataError: There are fewer than two generations, or no prompts.
    """
    if not prompts:
        raise DataError("no prompts", "drift needs some")

    def ask(generation: int, number: int, purpose: str) -> Responses:
        seed = round_seed(sampling.seed, number, purpose)
        return respond(models[generation], prompts, sampling.seeded(seed))

    parents = [None, *range(len(models) - 1)]
    return follow(ask, names or [m.name for m in models], parents, fdr=fdr)


def round_seed(seed: int, number: int, purpose: str) -> int:
    """Return the seed of one round, the same for both generations that it compares."""
    # The same seed within a round: what both would say alike, they say alike.
    return derive(seed, "drift", number, *([purpose] if purpose else []))


def follow(
    ask: Ask,
    names: Sequence[str],
    parents: Sequence[int | None],
    *,
    fdr: float = 0.1,
) -> Drift:
    """Compare every generation with the first and with its parent, in order.

    Args:
        ask: Gives the responses; asked in the same order every time.
        names: Of the generations; at least two.
        parents: Of each generation, None for the first.
        fdr: Level, in (0, 1).

    Raises:
        DataError: There are fewer than two generations.
    """
    if len(names) < 2:
        raise DataError(
            f"{len(names)} generations", "drift needs a first generation and at least one more"
        )
    monitor, control = Monitor(fdr), Monitor(fdr)
    alarmed: dict[str, None] = {}
    rounds: list[tuple[Responses, Responses]] = []
    for t in range(1, len(names)):
        first, now, again = ask(0, t, ""), ask(t, t, ""), ask(0, t, "again")
        rounds.append((first, now))
        # A parent other than the first has answered when it was new: its responses are fresh to
        # this comparison, which is of two rounds and therefore no part of the evidence.
        parent = parents[t]
        monitor.watch(first, now, rounds[parent - 1][1] if parent else None)
        alarmed |= dict.fromkeys(control.watch(first, again))
    samples = max(map(len, rounds[0][0].texts))
    return Drift(
        tuple(names),
        tuple(parents),
        len(rounds[0][0].ids),
        samples,
        fdr,
        monitor.behaviours(),
        Control(tuple(sorted(alarmed)), control.behaviours(), monitor.repeated),
        monitor.threshold,
        tuple(detectable_drift(len(rounds[0][0].ids), len(rounds), monitor.threshold)),
        tuple(rounds),
        tuple(r.differences for r in monitor.rounds),
        tuple(column.statement for column in monitor.columns),
    )
