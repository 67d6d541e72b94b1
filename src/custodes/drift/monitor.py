"""The monitor: one e-process for each behaviour, over the generations of a lineage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from custodes.diff.features.indicators import Indicator
from custodes.diff.features.lexical import lexical_indicators
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
Trajectory = Literal["stays", "recedes", "returned"]


@dataclass(frozen=True)
class Behaviour:
    """How one behaviour changed over a lineage.

    Attributes:
        statement: The behaviour, as the end of a sentence about a response.
        pattern: Regular expression that matches the evidence in a response, or "".
        log_e: Natural log of the e-value against "never changed", after each generation.
        sizes: Against the first generation, for each generation after it.
        always: 95% intervals of the same effects that hold at all generations together, however
            many there will be.
        steps: Effects against the parent, for each generation after the first.
        detected_at: First generation at which its drift is detected, None if it never is.
        still_detected: Whether its drift is detected at the last generation.
        trajectory: Of one that drifted: "stays"; "recedes" if it is detected to be nearer to the
            first generation than it was; "returned" if, besides, the last effect's 95% interval
            covers 0.
        indicator: The behaviour, with its count and threshold.
    """

    statement: str
    pattern: str
    log_e: tuple[float, ...]
    sizes: tuple[Effect, ...]
    always: tuple[tuple[float, float], ...]
    steps: tuple[Effect, ...]
    detected_at: int | None
    still_detected: bool
    trajectory: Trajectory
    indicator: Indicator = field(default_factory=lambda: Indicator("feature", "behaviour", ""))

    @property
    def returned(self) -> bool:
        """Whether it had drifted, and returned."""
        return self.trajectory == "returned"


@dataclass(frozen=True)
class Round:
    """Rates of every behaviour by prompt in one round, in [0, 1].

    Attributes:
        first: Rates of new responses of the first generation, shape (prompts, behaviours).
        now: Rates of the later generation, the same shape.
    """

    first: sparse.csc_matrix
    now: sparse.csc_matrix

    @property
    def differences(self) -> sparse.csc_matrix:
        """Return now minus first."""
        return sparse.csc_matrix(self.now - self.first)


class Monitor:
    """Tests a lineage, one generation after another.

    Each round needs responses that no earlier round has used, of the first generation too. If they
    were used twice, their sampling noise would look like evidence. `repeated` says how many were.

    Args:
        fdr: Level, in (0, 1).

    Attributes:
        rounds: Rates of every round.
        indicators: The behaviours, empty before the first round.
        threshold: Natural log of the e-value that a single behaviour needs.
    """

    def __init__(self, fdr: float = 0.1) -> None:
        self._fdr = fdr
        self._process: BettingProcess | None = None
        self._log_e: list[Floats] = []
        self._steps: list[Round] = []
        self._detected_at: dict[int, int] = {}
        self._rejected: set[int] = set()
        self._first_responses: list[tuple[tuple[str, ...], ...]] = []
        self.rounds: list[Round] = []
        self.indicators: tuple[Indicator, ...] = ()

    def add(self, first: Responses, now: Responses, parent: Responses | None = None) -> list[str]:
        """Add the responses of a generation.

        Args:
            first: New responses of the first generation.
            now: Responses of this generation to the same prompts.
            parent: Responses of its parent, ``first`` by default.

        Returns:
            The behaviours whose drift is detected at this generation.

        Raises:
            DataError: The prompts are not the same.
        """
        indicators, rates = _rates(first, now)
        step = rates if parent is None else _rates(parent, now)[1]
        self._first_responses.append(first.texts)
        return self.add_rates(indicators, rates, step)

    def add_rates(self, indicators: Sequence[Indicator], rates: Round, step: Round) -> list[str]:
        """Add the rates of a generation.

        Args:
            indicators: The behaviours, the same in every round.
            rates: Their rates, from new responses on both sides.
            step: The same with the parent's rates in place of the first generation's.

        Returns:
            The behaviours whose drift is detected at this generation.
        """
        if self._process is None:
            self._process = BettingProcess(len(indicators))
            self.indicators = tuple(indicators)
        self.rounds.append(rates)
        self._steps.append(step)
        self._log_e.append(self._process.bet(rates.differences))
        rejected = np.flatnonzero(e_benjamini_hochberg(self._log_e[-1], self._fdr)).tolist()
        self._rejected = set(rejected)
        for j in rejected:
            self._detected_at.setdefault(j, len(self._log_e))
        return [self.indicators[j].statement for j in rejected]

    @property
    def log_e(self) -> tuple[Floats, ...]:
        """Natural logs of all e-values after each generation, shape (behaviours,) each."""
        return tuple(self._log_e)

    @property
    def threshold(self) -> float:
        """See the class."""
        return float(np.log(max(1, len(self.indicators)) / self._fdr))

    @property
    def repeated(self) -> float:
        """Largest share of prompts that the first generation answered as in an earlier round."""
        shares = [
            np.mean([a == b for a, b in zip(one, two, strict=True)])
            for one, two in combinations(self._first_responses, 2)
        ]
        return float(max(shares, default=0.0))

    def behaviours(self) -> tuple[Behaviour, ...]:
        """Return all behaviours so far: those that drifted first, by falling e-value."""
        sizes = [_effects(rates) for rates in self.rounds]
        steps = [_effects(step) for step in self._steps]
        behaviours = [
            self._behaviour(j, [size[j] for size in sizes], [step[j] for step in steps])
            for j in range(len(self.indicators))
        ]
        return tuple(
            sorted(behaviours, key=lambda b: (b.detected_at is None, -b.log_e[-1], b.statement))
        )

    def behaviour(self, j: int) -> Behaviour:
        """Return one behaviour so far, by its place among the indicators."""
        one = np.array([j])
        sizes = [_effects(rates, one)[0] for rates in self.rounds]
        return self._behaviour(j, sizes, [_effects(step, one)[0] for step in self._steps])

    def _behaviour(self, j: int, sizes: Sequence[Effect], steps: Sequence[Effect]) -> Behaviour:
        differences = [_dense(r.now, j) - _dense(r.first, j) for r in self.rounds]
        always = tuple(
            # Σ 1 / (t (t + 1)) = 1: all intervals, however many, share one error budget.
            always_interval(d, 0.05 / (t * (t + 1)))
            for t, d in enumerate(differences, start=1)
        )
        return Behaviour(
            statement=self.indicators[j].statement,
            pattern=self.indicators[j].pattern,
            log_e=tuple(float(e[j]) for e in self._log_e),
            sizes=tuple(sizes),
            always=always,
            steps=tuple(steps),
            detected_at=self._detected_at.get(j),
            still_detected=j in self._rejected,
            trajectory=self._trajectory(j, sizes, differences),
            indicator=self.indicators[j],
        )

    def _trajectory(
        self, j: int, sizes: Sequence[Effect], differences: Sequence[Floats]
    ) -> Trajectory:
        """Tell whether a behaviour that drifted returns."""
        if j not in self._detected_at or len(sizes) < 2:
            return "stays"
        direction = float(np.sign(max(sizes, key=lambda s: abs(s.effect)).effect))
        log_e = receding_log_e([direction * d for d in differences])
        # Bonferroni over two directions and all behaviours that drifted.
        if log_e < np.log(2 * len(self._detected_at) / self._fdr):
            return "stays"
        return "returned" if sizes[-1].low <= 0 <= sizes[-1].high else "recedes"


def _dense(rates: sparse.csc_matrix, j: int) -> Floats:
    out = np.zeros(rates.shape[0])
    lo, hi = rates.indptr[j : j + 2]
    out[rates.indices[lo:hi]] = rates.data[lo:hi]
    return out


def _effects(rates: Round, which: NDArray[np.intp] | None = None) -> list[Effect]:
    """Measure all behaviours at once, as `diff.inference.effects.measure` does pairs."""
    from scipy import stats

    first, now = (x if which is None else x[:, which] for x in (rates.first, rates.now))
    n = first.shape[0]
    rate_a, rate_b = (np.asarray(x.sum(axis=0)).ravel() / n for x in (first, now))
    difference = now - first
    squares = np.asarray(difference.multiply(difference).sum(axis=0)).ravel()
    # Agresti & Min add one prompt that moved each way.
    centre = (rate_b - rate_a) * n / (n + 2)
    variance = (squares + 2 - (n + 2) * centre**2) / (n + 1)
    half = stats.t.ppf(0.975, n + 1) * np.sqrt(variance / (n + 2))
    low = np.minimum(np.maximum(centre - half, -1), rate_b - rate_a)
    high = np.maximum(np.minimum(centre + half, 1), rate_b - rate_a)
    rows = zip(rate_a, rate_b, low, high, strict=True)
    return [
        Effect(rate_a=float(a), rate_b=float(b), low=float(lower), high=float(upper))
        for a, b, lower, upper in rows
    ]


def _rates(first: Responses, now: Responses) -> tuple[tuple[Indicator, ...], Round]:
    if first.ids != now.ids:
        raise DataError("generations answered different prompts", "ask all of them the same")
    aligned = align(first, now)
    prompts = [aligned.prompts[u] for u in aligned.unit]
    indicators = lexical_indicators(aligned.texts, prompts, read_corpus(aligned.texts))
    means = []
    for side in (0, 1):
        docs = np.flatnonzero(aligned.side == side)
        unit = aligned.unit[docs]
        size = np.bincount(unit, minlength=aligned.n)
        weights = sparse.csr_matrix(
            (1 / size[unit], (unit, np.arange(len(docs)))), shape=(aligned.n, len(docs))
        )
        means.append(sparse.csc_matrix(weights @ indicators.shows[docs]))
    return indicators.items, Round(first=means[0], now=means[1])
