"""From significant hypotheses to findings: one for each thing that changed, not one per word."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from custodes.diff.inference.hypotheses import Hypotheses
from custodes.diff.inference.null import Null
from custodes.diff.inference.randomization import Floats, Labels

__all__ = ["Selected", "select"]

# Hypotheses beyond this many, or less surprising than p = .001, are not even considered as
# other faces of a finding.
MOST_CANDIDATES = 1500
LOOSE_SCORE = 3.0
# Two behaviours go together when the z of their agreement over prompts is beyond this.
TOGETHER = 2.5
# A further part of a change must be sharp: this share of the responses with it is of the change.
SHARP = 0.5
# ... and it moves this many times as often as chance has it on the prompts on which the rest moves.
MEET = 3.0
# Apart from a finding is what meets it by less than this share of what it could, if that would be
# this many standard errors and the finding moves this share of the prompts.
APART, SEEN, MOST = 1 / 3, 4.0, 0.5
# How much worse a face that can be pointed at in a response may fit than one that cannot.
POINTED = 0.9


@dataclass(frozen=True)
class Selected:
    """A hypothesis that stands for one change.

    Attributes:
        hypothesis: The one reported.
        score: About -log10 of its p.
        expected: False findings to expect at this level, over all that was looked at.
        q: Estimated share of false ones among the findings up to this one.
        aliases: Other hypotheses that the same responses bear out.
        composition: Hypotheses that moved only because this one did.
        parts: Hypotheses that go together with it and yet are there without it: other parts of
            one change, such as several words of one way of speaking.
    """

    hypothesis: int
    score: float
    expected: float
    q: float
    aliases: tuple[int, ...]
    composition: tuple[int, ...]
    parts: tuple[int, ...] = ()


def select(hypotheses: Hypotheses, null: Null, labels: Labels, fdr: float) -> list[Selected]:
    """Choose findings one after another; each must be there without the ones before it.

    Every finding must be so surprising that fewer than ``fdr`` false ones were to be expected,
    however many there are. Benjamini & Hochberg would let the j-th be j times as likely; most of
    what that let in was false (docs/diff.md). A hypothesis that goes together
    with a finding is scored again on the prompts that do not bear on that finding; if it is no
    longer surprising there, it is another face of it (or, where they move apart, composition).
    Agreement and the prompts left out do not depend on the labels, so both scores are valid.
    """
    design, family = hypotheses.design, hypotheses.family
    scores = design.scores(labels, np.arange(design.size))[:, 0]
    expected = null.expected(scores, family)
    pool = np.flatnonzero((scores >= LOOSE_SCORE) | (expected <= fdr))
    pool = pool[np.argsort(expected[pool], kind="stable")][:MOST_CANDIDATES]
    if not len(pool) or expected[pool[0]] > fdr:
        return []
    work = _Pool(hypotheses, null, labels, pool, scores=scores, expected=expected)
    chosen: list[Selected] = []
    while (leader := work.best(fdr)) is not None:
        chosen.append(work.take(leader, fdr, len(chosen) + 1))
    return _with_q(chosen)


def _with_q(chosen: list[Selected]) -> list[Selected]:
    """Order by surprise and give each the smallest rate at which it is still chosen."""
    ordered = sorted(chosen, key=lambda s: (s.expected, -s.score))
    q = 1.0
    out: list[Selected] = []
    for rank in range(len(ordered), 0, -1):
        one = ordered[rank - 1]
        q = min(q, one.expected / rank)
        out.append(replace(one, q=q))
    return out[::-1]


class _Pool:
    """Candidates that are left, scored on the prompts that are left to each."""

    def __init__(
        self,
        hypotheses: Hypotheses,
        null: Null,
        labels: Labels,
        pool: NDArray[np.intp],
        *,
        scores: NDArray[np.float32],
        expected: Floats,
    ) -> None:
        self._hypotheses, self._null, self._labels = hypotheses, null, labels
        self._pool = pool
        self._score, self._expected = scores[pool], expected[pool]
        self._now = self._expected.copy()  # Expected false findings on the prompts left.
        self._alive = np.ones(len(pool), np.bool_)
        # Findings whose prompts a candidate has lost, as the bits of one integer.
        self._lost = [0] * len(pool)
        self._taken: list[NDArray[np.bool_]] = []
        self._values = _signed(hypotheses, pool)
        # `_within` left no zeros among the stored values.
        self._moved = sparse.csc_matrix(self._values, copy=True)
        self._moved.data = np.ones_like(self._moved.data)
        self._effects, self._shown, self._noise = _sizes(hypotheses, pool, labels)
        self._sharp = _sharpness(self._effects, self._shown)

    def best(self, level: float) -> int | None:
        """Return the sharpest candidate (place in the pool) that is surprising enough.

        One under a condition leads only where none without is left: where both are there, the
        sharper half of a change must not stand for the whole.
        """
        open_ = np.flatnonzero(self._alive & (self._now <= level))
        if not len(open_):
            return None
        plain = open_[self._hypotheses.condition[self._pool[open_]] < 0]
        open_ = plain if len(plain) else open_
        order = np.lexsort((self._expected[open_], -self._sharp[open_]))
        return int(open_[order[0]])

    def take(self, leader: int, level: float, rank: int) -> Selected:
        """Make a finding of a candidate and take with it what it explains."""
        together = self._agreement(leader)
        self._alive[leader] = False
        rows = self._rows(leader)
        explained = self._explained(together, rows, level)
        faces = explained & (together > 0) & (self._expected <= level)
        best = self._most_fitting(leader, faces)
        if best != leader:
            self._explained(self._agreement(best), self._rows(best), level)
        order = np.argsort(self._expected, kind="stable")
        alike = np.sign(self._effects) == np.sign(self._effects[best])
        aliases = [
            int(self._pool[i])
            for i in order
            if (faces[i] or i == leader) and alike[i] and i != best
        ]
        moved = [
            int(self._pool[i])
            for i in order
            if explained[i] and (together[i] < 0 or (faces[i] and not alike[i]))
        ]
        parts = self._parts(best, level)
        hypothesis = int(self._pool[best])
        expected = float(self._expected[best])
        return Selected(
            hypothesis,
            float(self._score[best]),
            expected,
            expected / rank,
            tuple(aliases),
            tuple(moved),
            tuple(int(self._pool[i]) for i in parts),
        )

    def _parts(self, best: int, level: float) -> list[int]:
        """Take what goes together with a finding in one direction and is there without it."""
        parts: list[int] = []
        if self._hypotheses.condition[self._pool[best]] >= 0:
            return parts
        plain = self._hypotheses.condition[self._pool] < 0
        beside = plain & (self._agreement(best) >= TOGETHER) & (self._sharp >= SHARP)
        beside &= np.sign(self._effects) == np.sign(self._effects[best])
        beside &= self._meet(best) >= MEET
        while len(open_ := np.flatnonzero(beside & self._alive & (self._now <= level))):
            part = int(open_[np.argmin(self._now[open_])])
            self._alive[part] = False
            self._explained(self._agreement(part), self._rows(part), level)
            parts.append(part)
        return parts

    def _rows(self, i: int) -> NDArray[np.bool_]:
        rows = np.zeros(self._values.shape[0], np.bool_)
        rows[self._values.indices[self._values.indptr[i] : self._values.indptr[i + 1]]] = True
        return rows

    def _apart(self, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Say which candidates move on a finding's prompts about as often as chance has it.

        Where a finding moves most prompts, all that moves one way agrees with it. Another face of
        it also moves on its prompts rather than on others: by how many standard errors, and by how
        many if all its prompts were among them (hypergeometric)? Where that could not be seen,
        nothing is said to be apart.
        """
        n, mine = len(rows), rows.sum()
        if mine < MOST * n:
            # On so many prompts without it there is enough left to tell.
            return np.zeros(self._moved.shape[1], np.bool_)
        both = np.asarray(rows @ self._moved, np.float64).ravel()
        moved = np.asarray(self._moved.sum(axis=0), np.float64).ravel()
        chance = moved * mine / n
        error = np.sqrt(np.maximum(chance * (n - mine) * (n - moved) / (n * max(n - 1, 1)), 1e-12))
        most = (np.minimum(moved, mine) - chance) / error
        apart: NDArray[np.bool_] = (most >= SEEN) & (both - chance < APART * most * error)
        return apart

    def _meet(self, i: int) -> Floats:
        """Return how often each candidate moves on the prompts on which one moves, chance being 1.

        Where much has changed, everything agrees with everything on some prompts: only what keeps
        company with a finding can be a part of it.
        """
        mine = self._rows(i)
        both = np.asarray(mine @ self._moved, np.float64).ravel()
        moved = np.asarray(self._moved.sum(axis=0), np.float64).ravel()
        meeting: Floats = both * len(mine) / np.maximum(moved * mine.sum(), 1)
        return meeting

    def _agreement(self, i: int) -> Floats:
        """Return the z of each candidate's agreement with one, over prompts."""
        mine = self._values[:, [i]]
        inner = np.asarray((self._values.T @ mine).todense()).ravel()
        if not self._hypotheses.paired:
            # A relabelling fixes no pairs: what counts is meeting more often than by chance.
            total = np.asarray(abs(self._values).sum(axis=0)).ravel()
            inner = inner - total * total[i] / self._values.shape[0]
        norm = np.asarray((self._values.multiply(self._values).T @ mine.multiply(mine)).todense())
        agreement: Floats = inner / np.sqrt(np.maximum(norm.ravel(), 1e-12))
        # In which direction the candidate itself moved decides between a face and composition.
        signed: Floats = agreement * np.sign(self._effects) * np.sign(self._effects[i])
        return signed

    def _explained(
        self, together: Floats, rows: NDArray[np.bool_], level: float
    ) -> NDArray[np.bool_]:
        """Score what goes together with a finding again, without its prompts."""
        near = (np.abs(together) >= TOGETHER) & ~self._apart(rows)
        touched = np.flatnonzero(self._alive & near)
        gone = np.zeros(len(self._pool), np.bool_)
        self._taken.append(rows)
        same: dict[int, list[int]] = {}
        for i in touched:
            self._lost[i] |= 1 << (len(self._taken) - 1)
            same.setdefault(self._lost[i], []).append(int(i))
        # Candidates that lost the same prompts are scored in one go.
        for bits, places in same.items():
            out = np.any([r for k, r in enumerate(self._taken) if bits >> k & 1], axis=0)
            which = self._pool[places]
            scores = self._hypotheses.design.scores(self._labels, which, keep=~out)[:, 0]
            self._now[places] = self._null.expected(scores, self._hypotheses.family[which])
        gone[touched] = self._now[touched] > level
        self._alive &= ~gone
        return gone

    def _most_fitting(self, leader: int, faces: NDArray[np.bool_]) -> int:
        """Choose the face whose responses are most nearly the changed ones.

        Of ``shown`` prompts about ``|effect|`` show the behaviour because of the change, out of
        as many changed prompts as the widest face moved: precision, recall, and their F1. Wide
        faces move by chance, too, so each effect is taken as one standard error smaller.
        """
        places = np.append(leader, np.flatnonzero(faces))
        # Where the change shows on all prompts, `findings` says under which condition it holds.
        plain = places[self._hypotheses.condition[self._pool[places]] < 0]
        places = plain if len(plain) else places
        moved = np.abs(self._effects[places])
        sure = np.maximum(moved - self._noise[places], 0)
        fit = 2 * sure / (self._shown[places] + moved.max())
        columns = self._hypotheses.columns.columns
        behaviours = self._hypotheses.behaviour[self._pool[places]]
        pointed = np.array([bool(columns[j].pattern) for j in behaviours])
        # What all responses of one side show and none of the other need not be pointed at.
        fit[~pointed & (moved < self._values.shape[0])] *= POINTED
        order = np.lexsort((self._expected[places], -np.round(fit, 6)))
        return int(places[order[0]])


def _signed(hypotheses: Hypotheses, pool: NDArray[np.intp]) -> sparse.csc_matrix:
    """Return B minus A of each candidate on the prompts that it is about."""
    behaviour = hypotheses.behaviour[pool]
    values = (hypotheses.rates_b[:, behaviour] - hypotheses.rates_a[:, behaviour]).tocsc()
    return _within(hypotheses, pool, values)


def _within(
    hypotheses: Hypotheses, pool: NDArray[np.intp], values: sparse.csc_matrix
) -> sparse.csc_matrix:
    """Set the values of prompts that a candidate is not about to 0."""
    values = values.copy()
    for k, h in enumerate(pool):
        if hypotheses.condition[h] >= 0:
            lo, hi = values.indptr[k : k + 2]
            values.data[lo:hi] *= hypotheses.members(int(h))[values.indices[lo:hi]]
    values.eliminate_zeros()
    return values


def _sizes(
    hypotheses: Hypotheses, pool: NDArray[np.intp], labels: Labels
) -> tuple[Floats, Floats, Floats]:
    """Measure the candidates.

    Returns:
        The net number of prompts that moved, how many show it on the higher side, and the
        standard error of the former by what moved without a change: both ways equally.
    """
    behaviour = hypotheses.behaviour[pool]
    a = _within(hypotheses, pool, hypotheses.rates_a[:, behaviour].tocsc())
    b = _within(hypotheses, pool, hypotheses.rates_b[:, behaviour].tocsc())
    one = labels[:, 0] > 0
    if hypotheses.paired:
        sum_a, sum_b = one @ a + ~one @ b, one @ b + ~one @ a
        either = np.asarray(abs(b - a).sum(axis=0)).ravel()
    else:
        size = np.array([hypotheses.members(int(h))[one].sum() for h in pool])
        rest = np.array([hypotheses.members(int(h))[~one].sum() for h in pool])
        sum_b = one @ (a + b)
        sum_a = (~one @ (a + b)) * size / np.maximum(rest, 1)
        either = sum_a + sum_b
    effects = np.asarray(sum_b - sum_a, np.float64).ravel()
    return (
        effects,
        np.asarray(np.maximum(sum_a, sum_b), np.float64).ravel(),
        np.sqrt(np.maximum(np.asarray(either, np.float64) - np.abs(effects), 0)),
    )


def _sharpness(effects: Floats, shown: Floats) -> Floats:
    """Return a cautious share of the showing responses that the change accounts for.

    The lower end of Wilson's 95% interval, so that few responses do not look sharp by luck.
    """
    n = np.maximum(shown, 1.0)
    share = np.clip(np.abs(effects) / n, 0, 1)
    z = 1.96
    centre = share + z**2 / (2 * n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    lower: Floats = (centre - half) / (1 + z**2 / n)
    return lower
