"""Several Experts of one domain as one, and how far they disagree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from itertools import combinations
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custodes.control import Control
from custodes.conversation import Query
from custodes.errors import ConfigError, near_misses
from custodes.experts.expert import Expert, Rating
from custodes.models.base import Usage

__all__ = ["COMBINE", "EnsembleExpert"]

COMBINE: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": fmean,
    "median": median,
    "min": min,
}

# A correlation over fewer responses than this says nothing.
LEAST_SHARED = 8


class EnsembleExpert:
    """Joins the ratings of its members.

    Attributes:
        name, domain, version: As in `custodes.experts.expert.Expert`.
        members: Who rates.
        combine: mean, median or min of those that speak.
        quorum: Fewer members than this speaking is an abstention.
    """

    def __init__(
        self, members: Sequence[Expert], *, combine: str = "mean", quorum: int = 1
    ) -> None:
        """Set up an ensemble.

        Raises:
            ConfigError: It has no members, they are of different domains, ``combine`` is unknown,
                or the quorum cannot be met.
        """
        domains = sorted({member.domain for member in members})
        if len(domains) != 1:
            raise ConfigError(
                f"an ensemble of {', '.join(domains) or 'nobody'}",
                "its members must all judge one and the same domain",
            )
        if combine not in COMBINE:
            raise ConfigError(f"no way {combine!r} to combine", near_misses(combine, COMBINE))
        if not 1 <= quorum <= len(members):
            raise ConfigError(
                f"a quorum of {quorum} out of {len(members)}", f"give one from 1 to {len(members)}"
            )
        self.members = tuple(members)
        self.domain = domains[0]
        self.combine = combine
        self.quorum = quorum
        self.name = f"ensemble:{combine}"
        decisive = [combine, quorum, *(member.version for member in members)]
        self.version = "ensemble-" + hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:12]
        # One row a response, one column a member; NaN where it abstained.
        self._ratings: list[list[float]] = []

    @property
    def usage(self) -> Usage:
        """What asking those members has cost that cost anything."""
        return Usage.sum(member.usage for member in self.members if hasattr(member, "usage"))

    def rate(self, queries: Sequence[Query], responses: Sequence[str]) -> list[Rating]:
        """Rate with every member, and join."""
        ratings = [member.rate(queries, responses) for member in self.members]
        rows = list(zip(*ratings, strict=True)) if responses else []
        for row in rows:
            self._ratings.append([np.nan if r.value is None else r.value for r in row])
        return [self._join(row) for row in rows]

    def report(self) -> dict[str, Any]:
        """Return how far the members disagree, and each member's own report."""
        ratings_RM = np.array(self._ratings, dtype=np.float64).reshape(-1, len(self.members))
        spoke = ~np.isnan(ratings_RM)
        abstentions = int((spoke.sum(axis=1) < self.quorum).sum())
        pairs = list(self._correlations(ratings_RM))
        reports = [member.report() for member in self.members]
        own = [
            {**control, "name": f"{control['name']} ({member.name})"}
            for member, report in zip(self.members, reports, strict=True)
            for control in report["controls"]
        ]
        return {
            "kind": "ensemble",
            "combine": self.combine,
            "quorum": self.quorum,
            "judged": len(ratings_RM),
            "abstentions": abstentions,
            "mean_absolute_deviation": _deviation(ratings_RM),
            "correlations": pairs,
            "members": [
                {"name": member.name, "version": member.version, "report": report}
                for member, report in zip(self.members, reports, strict=True)
            ],
            "controls": [_agreement(pairs).to_dict(), *own],
        }

    def _join(self, row: Sequence[Rating]) -> Rating:
        values = [rating.value for rating in row if rating.value is not None]
        if len(values) < self.quorum:
            silent = [
                f"{m.name}: {r.reason}"
                for m, r in zip(self.members, row, strict=True)
                if r.abstained
            ]
            return Rating(
                None, f"{len(values)} of {self.quorum} needed spoke ({'; '.join(silent)})"
            )
        return Rating(COMBINE[self.combine](values))

    def _correlations(self, ratings_RM: NDArray[np.float64]) -> list[dict[str, Any]]:
        """Correlate each pair of members over the responses that both rated."""
        correlations = []
        for i, j in combinations(range(len(self.members)), 2):
            shared = ratings_RM[~np.isnan(ratings_RM[:, [i, j]]).any(axis=1)][:, [i, j]]
            varied = len(shared) >= LEAST_SHARED and bool((shared.std(axis=0) > 0).all())
            correlations.append(
                {
                    "members": [self.members[i].name, self.members[j].name],
                    "n": len(shared),
                    # None where it is not defined: too few, or one of them is constant.
                    "r": float(np.corrcoef(shared[:, 0], shared[:, 1]).item(1)) if varied else None,
                }
            )
        return correlations


def _agreement(correlations: Sequence[dict[str, Any]]) -> Control:
    """Check that no two members contradict each other."""
    name = "ensemble agrees"
    judged = [pair for pair in correlations if pair["n"] >= LEAST_SHARED]
    if not judged:
        return Control.not_tested(
            name, f"no two members have rated {LEAST_SHARED} responses in common"
        )
    worst = min(judged, key=lambda pair: -2.0 if pair["r"] is None else pair["r"])
    r = (
        "undefined, since one of them always gives the same rating"
        if worst["r"] is None
        else f"{worst['r']:+.2f}"
    )
    return Control(
        name,
        worst["r"] is not None and worst["r"] > 0,
        f"the lowest correlation of two members, {worst['members'][0]} and "
        f"{worst['members'][1]}, is {r} over {worst['n']} responses (must be positive)",
        dict(worst),
    )


def _deviation(ratings_RM: NDArray[np.float64]) -> float | None:
    """Average over responses of the mean absolute deviation of the members from their mean."""
    rows = ratings_RM[(~np.isnan(ratings_RM)).sum(axis=1) >= 2]
    if not len(rows):
        return None
    return float(np.nanmean(np.abs(rows - np.nanmean(rows, axis=1, keepdims=True)), axis=1).mean())
