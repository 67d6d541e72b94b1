"""Preference pairs out of rated answers. A pure core."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from custodes.control import Control
from custodes.conversation import PreferencePair, Query
from custodes.experts.expert import Rating

__all__ = ["DomainPairs", "PreferenceData", "rank"]

# Two thirds of the differences in rating within a prompt being differences in length.
MOST_CORRELATION = 0.8


@dataclass(frozen=True)
class DomainPairs:
    """One domain's preference pairs, and figures on how they were made.

    Attributes:
        pairs: Best against worst answer, one for each query that has a pair.
        facts: Counts and means, JSON-ready: ``queries``, ``answers``, ``abstentions``,
            ``unrated`` (queries with fewer than two rated answers), ``too_close`` (queries whose
            best and worst are closer than the margin), ``pairs``, ``gap`` (mean rating of the
            chosen minus that of the rejected), ``longer`` (mean length of the chosen minus that
            of the rejected, in characters), and ``length_correlation``, of rating and length
            within a query, in [-1, 1].
    """

    pairs: list[PreferencePair]
    facts: dict[str, Any]


def rank(
    queries: Sequence[Query],
    answers: Sequence[Sequence[str]],
    ratings: Sequence[Sequence[Rating]],
    margin: float,
) -> DomainPairs:
    """Pair the best answer to each query with the worst.

    Args:
        queries: n queries.
        answers: n lists of answers.
        ratings: The rating of each answer; abstentions are left out.
        margin: Pairs whose ratings are closer than this are dropped, and pairs of equal ratings
            always.
    """
    pairs: list[PreferencePair] = []
    gaps: list[float] = []
    unrated = too_close = 0
    values: list[list[float]] = []
    lengths: list[list[int]] = []
    for query, texts, row in zip(queries, answers, ratings, strict=True):
        candidates = [
            (r.value, text) for r, text in zip(row, texts, strict=True) if r.value is not None
        ]
        values.append([value for value, _ in candidates])
        lengths.append([len(text) for _, text in candidates])
        if len(candidates) < 2:
            unrated += 1
            continue
        best, worst = max(candidates, key=_value), min(candidates, key=_value)
        if best[0] - worst[0] < margin or best[0] == worst[0]:
            too_close += 1
            continue
        gaps.append(best[0] - worst[0])
        pairs.append(
            PreferencePair(
                id=_pair_id(query, best[1], worst[1]),
                prompt=query.chat,
                chosen=best[1],
                rejected=worst[1],
            )
        )
    total = sum(map(len, answers))
    facts = {
        "queries": len(queries),
        "answers": total,
        "abstentions": total - sum(map(len, values)),
        "unrated": unrated,
        "too_close": too_close,
        "pairs": len(pairs),
        "gap": _mean(gaps),
        "longer": _mean([len(pair.chosen) - len(pair.rejected) for pair in pairs]),
        "length_correlation": _within(values, lengths),
    }
    return DomainPairs(pairs, facts)


@dataclass(frozen=True)
class PreferenceData:
    """The preference pairs of a retrain.

    Attributes:
        domain: The domain of the retrain.
        by_domain: Its pairs, and those of the domains that are mixed in.
    """

    domain: str
    by_domain: Mapping[str, DomainPairs]

    @property
    def pairs(self) -> list[PreferencePair]:
        """All pairs, domain after domain."""
        return [pair for domain in self.by_domain.values() for pair in domain.pairs]

    @property
    def facts(self) -> dict[str, dict[str, Any]]:
        """The figures of each domain, JSON-ready."""
        return {name: domain.facts for name, domain in self.by_domain.items()}

    @property
    def sufficient(self) -> bool:
        """Whether the domain of the retrain has a pair at all."""
        return bool(self.by_domain[self.domain].pairs)

    def controls(self) -> list[Control]:
        """Check that there is something to learn, and that it is not length."""
        count = len(self.by_domain[self.domain].pairs)
        return [
            Control(
                f"there is something to learn in {self.domain}",
                self.sufficient,
                f"{count} preference pairs (must be at least one)",
                {"pairs": count},
            ),
            *(
                _length_control(name, facts)
                for name, facts in self.facts.items()
                if "length_correlation" in facts
            ),
        ]


def _length_control(domain: str, facts: Mapping[str, Any]) -> Control:
    """Check that ratings do not merely follow the length of the answers."""
    r = facts["length_correlation"]
    return Control(
        f"length does not make the rating in {domain}",
        abs(r) <= MOST_CORRELATION,
        f"within a prompt, rating and length correlate {r:+.2f} (at most ±{MOST_CORRELATION}); the "
        f"chosen answers are {facts['longer']:+.0f} characters longer than the rejected",
        {"correlation": r, "longer": facts["longer"], "most": MOST_CORRELATION},
    )


def _value(candidate: tuple[float, str]) -> float:
    return candidate[0]


def _pair_id(query: Query, chosen: str, rejected: str) -> str:
    text = "\x1f".join((query.id, chosen, rejected))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4) if values else 0.0


def _within(values: Sequence[Sequence[float]], lengths: Sequence[Sequence[int]]) -> float:
    """Correlate ratings and lengths after taking each query's own means out of both."""
    x = np.concatenate([np.asarray(v) - np.mean(v) for v in values if len(v) > 1] or [[0.0]])
    y = np.concatenate([np.asarray(n) - np.mean(n) for n in lengths if len(n) > 1] or [[0.0]])
    spread = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return round(float((x * y).sum()) / spread, 4) if spread > 0 else 0.0
