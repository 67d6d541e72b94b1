"""Drift: how a lineage of models moves away from its first, looked at after every generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from custodes.diff.columns import Columns
from custodes.diff.effects import Effect, measure
from custodes.diff.evidence import BettingProcess, e_benjamini_hochberg
from custodes.diff.features import feature_columns
from custodes.diff.generate import respond
from custodes.diff.responses import Aligned, Responses, align
from custodes.diff.text import read_corpus
from custodes.errors import DataError
from custodes.models.base import LanguageModel, Sampling
from custodes.seeds import derive

__all__ = ["Behaviour", "Drift", "Monitor", "drift"]


@dataclass(frozen=True)
class Behaviour:
    """What became of one behaviour.

    Attributes:
        statement: What the responses do.
        log_e: Natural log of the e-value against "never changed", after each generation.
        sizes: Against the first generation, for each generation after it.
        steps: Against its parent, for each generation after the first.
        certain: First generation at which it was among the drifted, None if never.
        returned: Whether it had drifted, and at the end is nearer to where it began: the last
            effect's interval covers 0, and not the largest effect.
    """

    statement: str
    log_e: tuple[float, ...]
    sizes: tuple[Effect, ...]
    steps: tuple[Effect, ...]
    certain: int | None
    returned: bool


@dataclass(frozen=True)
class Drift:
    """What became of a lineage.

    Attributes:
        names: Of the generations, the first included.
        prompts: How many each was asked.
        fdr: Level of e-BH, which holds at whatever generation one stops.
        behaviours: All that were watched, those that drifted first, by e-value.
        control: Behaviours said to drift by the A/A run, in which every generation is the
            first under other seeds; expected none.
    """

    names: tuple[str, ...]
    prompts: int
    fdr: float
    behaviours: tuple[Behaviour, ...]
    control: tuple[str, ...]

    @property
    def drifted(self) -> tuple[Behaviour, ...]:
        """Behaviours that were certain to drift at some generation."""
        return tuple(b for b in self.behaviours if b.certain is not None)


class Monitor:
    """Watches a lineage, one generation after another.

    Each round must bring responses that no earlier round has seen, of the first generation too:
    used twice, its luck would look like evidence.

    Args:
        fdr: Level, in (0, 1).
    """

    def __init__(self, fdr: float = 0.1) -> None:
        self._fdr = fdr
        self._process: BettingProcess | None = None
        self._log_e: list[NDArray[np.float64]] = []
        self._first: list[list[Effect]] = []
        self._parent: list[list[Effect]] = []
        self._certain: dict[int, int] = {}
        self._statements: list[str] = []

    def watch(self, first: Responses, now: Responses, parent: Responses | None = None) -> list[str]:
        """Take in a generation.

        Args:
            first: Fresh responses of the first generation.
            now: Responses of the new one to the same prompts.
            parent: Responses of its parent, ``first`` by default.

        Returns:
            What is certain to have drifted, so far.

        Raises:
            DataError: The prompts are not the same.
        """
        columns, a, b = _rates(first, now)
        if self._process is None:
            self._process = BettingProcess(len(columns.columns))
            self._statements = [c.statement for c in columns.columns]
        self._log_e.append(self._process.bet(b - a))
        self._first.append(_effects(a, b))
        if parent is None:
            self._parent.append(self._first[-1])
        else:
            _, before, after = _rates(parent, now)
            self._parent.append(_effects(before, after))
        rejected = np.flatnonzero(e_benjamini_hochberg(self._log_e[-1], self._fdr))
        for j in rejected:
            self._certain.setdefault(int(j), len(self._log_e))
        return [self._statements[j] for j in rejected]

    def behaviours(self) -> tuple[Behaviour, ...]:
        """Return all behaviours as of now, the most certain first."""
        found = [self._behaviour(j) for j in range(len(self._statements))]
        return tuple(sorted(found, key=lambda b: (b.certain is None, -b.log_e[-1], b.statement)))

    def _behaviour(self, j: int) -> Behaviour:
        sizes = tuple(generation[j] for generation in self._first)
        certain = self._certain.get(j)
        largest = max(sizes, key=lambda s: abs(s.effect)).effect
        last = sizes[-1]
        returned = (
            certain is not None
            and last.low <= 0 <= last.high
            and not last.low <= largest <= last.high
        )
        return Behaviour(
            self._statements[j],
            tuple(float(e[j]) for e in self._log_e),
            sizes,
            tuple(generation[j] for generation in self._parent),
            certain,
            returned,
        )


def drift(
    models: Sequence[LanguageModel],
    prompts: Sequence[tuple[str, str]],
    sampling: Sampling,
    *,
    fdr: float = 0.1,
    names: Sequence[str] | None = None,
) -> Drift:
    """Compare every generation with the first and with its parent.

    Args:
        models: The lineage, the first generation first; at least two.
        prompts: Pairs of (id, prompt).
        sampling: How to sample; every round derives seeds of its own from its seed.
        fdr: Level, in (0, 1).
        names: What to call the generations, by default their models' names.

    Raises:
        DataError: There are fewer than two generations, or no prompts.
    """
    if len(models) < 2 or not prompts:
        raise DataError(
            f"{len(models)} generations and {len(prompts)} prompts",
            "drift needs two generations or more, and prompts",
        )

    def ask(model: LanguageModel, *purpose: str | int) -> Responses:
        return respond(model, prompts, sampling.seeded(derive(sampling.seed, "drift", *purpose)))

    monitor, control = Monitor(fdr), Monitor(fdr)
    alarmed: set[str] = set()
    for t, model in enumerate(models[1:], start=1):
        # The same seed within a round: what both would say alike, they say alike.
        first, now = ask(models[0], t), ask(model, t)
        monitor.watch(first, now, ask(models[t - 1], t) if t > 1 else None)
        alarmed.update(control.watch(first, ask(models[0], t, "again")))
    return Drift(
        tuple(names or [m.name for m in models]),
        len(prompts),
        fdr,
        monitor.behaviours(),
        tuple(sorted(alarmed)),
    )


def _rates(
    first: Responses, now: Responses
) -> tuple[Columns, sparse.csc_matrix, sparse.csc_matrix]:
    if first.ids != now.ids:
        raise DataError("generations answered different prompts", "ask all of them the same")
    aligned: Aligned = align(first, now)
    asked = [aligned.prompts[u] for u in aligned.unit]
    columns = feature_columns(aligned.texts, asked, read_corpus(aligned.texts))
    means = []
    for side in (0, 1):
        docs = np.flatnonzero(aligned.side == side)
        unit = aligned.unit[docs]
        size = np.bincount(unit, minlength=aligned.n)
        weights = sparse.csr_matrix(
            (1 / size[unit], (unit, np.arange(len(docs)))), shape=(aligned.n, len(docs))
        )
        means.append((weights @ columns.shows[docs]).tocsc())
    return columns, means[0], means[1]


def _effects(a: sparse.csc_matrix, b: sparse.csc_matrix) -> list[Effect]:
    dense_a, dense_b = a.toarray(), b.toarray()
    return [measure(dense_a[:, j], dense_b[:, j], paired=True) for j in range(a.shape[1])]
