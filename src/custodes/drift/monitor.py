"""A lineage watched behaviour by behaviour, one generation after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from custodes.diff.features.indicators import Column
from custodes.diff.features.lexical import feature_columns
from custodes.diff.features.text import read_corpus
from custodes.diff.inference.effects import Effect
from custodes.diff.responses import Responses, align
from custodes.drift.e_values import (
    BettingProcess,
    always_interval,
    e_benjamini_hochberg,
    receding_log_e,
)
from custodes.errors import DataError

__all__ = ["Behaviour", "Monitor", "Round"]

Floats = NDArray[np.float64]
Course = Literal["stays", "recedes", "returned"]


@dataclass(frozen=True)
class Behaviour:
    """What became of one behaviour.

    Attributes:
        statement: What the responses do.
        pattern: Regular expression of what shows it, "" where nothing in particular does.
        log_e: Natural log of the e-value against "never changed", after each generation.
        sizes: Against the first generation, for each generation after it.
        always: 95% intervals of the same effects that hold at all generations together, however
            many there will be.
        steps: Against its parent, for each generation after the first.
        certain: First generation at which it was among the drifted, None if never.
        still: Whether it is among the drifted at the last generation.
        course: Of one that drifted: "stays"; "recedes" where it is certain to be nearer to the
            first generation than it was; "returned" where, beside that, the last effect's 95%
            interval covers 0.
    """

    statement: str
    pattern: str
    log_e: tuple[float, ...]
    sizes: tuple[Effect, ...]
    always: tuple[tuple[float, float], ...]
    steps: tuple[Effect, ...]
    certain: int | None
    still: bool
    course: Course

    @property
    def returned(self) -> bool:
        """Whether it had drifted, and came back."""
        return self.course == "returned"


@dataclass(frozen=True)
class Round:
    """One generation's look: rates of every behaviour by prompt, in [0, 1].

    Attributes:
        first: Of fresh responses of the first generation, shape (prompts, behaviours).
        now: Of the new generation, the same shape.
    """

    first: sparse.csc_matrix
    now: sparse.csc_matrix

    @property
    def differences(self) -> sparse.csc_matrix:
        """Return now minus first."""
        return sparse.csc_matrix(self.now - self.first)


class Monitor:
    """Watches a lineage, one generation after another.

    Each round must bring responses that no earlier round has seen, of the first generation too:
    used twice, its luck would look like evidence. `repeated` says whether they were fresh.

    Args:
        fdr: Level, in (0, 1).

    Attributes:
        rounds: What every generation brought.
        columns: The behaviours, empty before the first round.
        threshold: Natural log of the e-value that a single behaviour needs.
    """

    def __init__(self, fdr: float = 0.1) -> None:
        self._fdr = fdr
        self._process: BettingProcess | None = None
        self._log_e: list[Floats] = []
        self._steps: list[Round] = []
        self._certain: dict[int, int] = {}
        self._rejected: set[int] = set()
        self._asked: list[tuple[tuple[str, ...], ...]] = []
        self.rounds: list[Round] = []
        self.columns: tuple[Column, ...] = ()

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
        columns, seen = _rates(first, now)
        step = seen if parent is None else _rates(parent, now)[1]
        self._asked.append(first.texts)
        return self.take(columns, seen, step)

    def take(self, columns: Sequence[Column], seen: Round, step: Round) -> list[str]:
        """Take in a generation whose behaviours are told already.

        Args:
            columns: The behaviours, the same every time.
            seen: Their rates, fresh on both sides.
            step: The same with the parent's rates in place of the first's.

        Returns:
            What is certain to have drifted, so far.
        """
        if self._process is None:
            self._process = BettingProcess(len(columns))
            self.columns = tuple(columns)
        self.rounds.append(seen)
        self._steps.append(step)
        self._log_e.append(self._process.bet(seen.differences))
        rejected = np.flatnonzero(e_benjamini_hochberg(self._log_e[-1], self._fdr)).tolist()
        self._rejected = set(rejected)
        for j in rejected:
            self._certain.setdefault(j, len(self._log_e))
        return [self.columns[j].statement for j in rejected]

    @property
    def log_e(self) -> tuple[Floats, ...]:
        """Natural logs of all e-values after each generation, shape (behaviours,) each."""
        return tuple(self._log_e)

    @property
    def threshold(self) -> float:
        """See the class."""
        return float(np.log(max(1, len(self.columns)) / self._fdr))

    @property
    def repeated(self) -> float:
        """Largest share of prompts that the first generation answered as in an earlier round."""
        shares = [
            np.mean([a == b for a, b in zip(one, two, strict=True)])
            for one, two in combinations(self._asked, 2)
        ]
        return float(max(shares, default=0.0))

    def behaviours(self) -> tuple[Behaviour, ...]:
        """Return all behaviours as of now, the most certain first."""
        sizes = [_effects(seen) for seen in self.rounds]
        steps = [_effects(step) for step in self._steps]
        found = [
            self._behaviour(j, [size[j] for size in sizes], [step[j] for step in steps])
            for j in range(len(self.columns))
        ]
        return tuple(sorted(found, key=lambda b: (b.certain is None, -b.log_e[-1], b.statement)))

    def behaviour(self, j: int) -> Behaviour:
        """Return one behaviour as of now, by its place among the columns."""
        one = np.array([j])
        sizes = [_effects(seen, one)[0] for seen in self.rounds]
        return self._behaviour(j, sizes, [_effects(step, one)[0] for step in self._steps])

    def _behaviour(self, j: int, sizes: Sequence[Effect], steps: Sequence[Effect]) -> Behaviour:
        differences = [_column(r.now, j) - _column(r.first, j) for r in self.rounds]
        always = tuple(
            # Σ 1 / (t (t + 1)) = 1: all intervals there will ever be share one error budget.
            always_interval(d, 0.05 / (t * (t + 1)))
            for t, d in enumerate(differences, start=1)
        )
        return Behaviour(
            self.columns[j].statement,
            self.columns[j].pattern,
            tuple(float(e[j]) for e in self._log_e),
            tuple(sizes),
            always,
            tuple(steps),
            self._certain.get(j),
            j in self._rejected,
            self._course(j, sizes, differences),
        )

    def _course(self, j: int, sizes: Sequence[Effect], differences: Sequence[Floats]) -> Course:
        """Say whether a drifted behaviour comes back."""
        if j not in self._certain or len(sizes) < 2:
            return "stays"
        way = float(np.sign(max(sizes, key=lambda s: abs(s.effect)).effect))
        log_e = receding_log_e([way * d for d in differences])
        # Two directions, and one question for each behaviour that drifted.
        if log_e < np.log(2 * len(self._certain) / self._fdr):
            return "stays"
        return "returned" if sizes[-1].low <= 0 <= sizes[-1].high else "recedes"


def _column(rates: sparse.csc_matrix, j: int) -> Floats:
    out = np.zeros(rates.shape[0])
    lo, hi = rates.indptr[j : j + 2]
    out[rates.indices[lo:hi]] = rates.data[lo:hi]
    return out


def _effects(seen: Round, which: NDArray[np.intp] | None = None) -> list[Effect]:
    """Measure all behaviours at once, as `diff.inference.effects.measure` does pairs."""
    from scipy import stats

    first, now = (x if which is None else x[:, which] for x in (seen.first, seen.now))
    n = first.shape[0]
    rate_a, rate_b = (np.asarray(x.sum(axis=0)).ravel() / n for x in (first, now))
    difference = now - first
    squares = np.asarray(difference.multiply(difference).sum(axis=0)).ravel()
    # With one prompt more that moved each way.
    centre = (rate_b - rate_a) * n / (n + 2)
    variance = (squares + 2 - (n + 2) * centre**2) / (n + 1)
    half = stats.t.ppf(0.975, n + 1) * np.sqrt(variance / (n + 2))
    low = np.minimum(np.maximum(centre - half, -1), rate_b - rate_a)
    high = np.maximum(np.minimum(centre + half, 1), rate_b - rate_a)
    rows = zip(rate_a, rate_b, low, high, strict=True)
    return [Effect(*map(float, row)) for row in rows]


def _rates(first: Responses, now: Responses) -> tuple[tuple[Column, ...], Round]:
    if first.ids != now.ids:
        raise DataError("generations answered different prompts", "ask all of them the same")
    aligned = align(first, now)
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
        means.append(sparse.csc_matrix(weights @ columns.shows[docs]))
    return columns.columns, Round(means[0], means[1])
