"""The order-swap control: does a judge mean the response, or the place where it stands?

Zheng et al., "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", NeurIPS 2023, section 3.3
(position bias) and 3.4 (asking in both orders, and taking a verdict only when they agree).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from custodes.experts.template import Choice
from custodes.statistics import Interval

__all__ = ["CHANCE", "MOST_FLIPS", "OrderSwap", "wilson"]

# A judge that answers by chance flips half of its pairs, and is right about half.
CHANCE = 0.5
MOST_FLIPS = 0.25


def wilson(successes: float, n: int, z: float = 1.959964) -> Interval:
    """Bound a proportion (Wilson, JASA 1927); with n = 0 it says nothing: [0, 1] around 0.5."""
    if n == 0:
        return Interval(0.5, 0.0, 1.0, 0)
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half), n)


@dataclass(frozen=True)
class OrderSwap:
    """What a judge said of pairs that it was shown in both orders.

    Attributes:
        pairs: Pairs shown.
        answered: Pairs with a readable reply in both orders; the others are abstentions.
        flips: Answered pairs where the two replies contradict each other.
        replies: Readable replies, at most two a pair.
        said_a: Those that said A.
    """

    pairs: int = 0
    answered: int = 0
    flips: int = 0
    replies: int = 0
    said_a: int = 0

    @staticmethod
    def of(forward: Sequence[Choice | None], swapped: Sequence[Choice | None]) -> OrderSwap:
        """Count replies to the same pairs in the two orders."""
        both = [(f, s) for f, s in zip(forward, swapped, strict=True) if f and s]
        letters = [reply for reply in (*forward, *swapped) if reply]
        return OrderSwap(
            pairs=len(forward),
            answered=len(both),
            flips=sum(f == s for f, s in both),
            replies=len(letters),
            said_a=letters.count("A"),
        )

    def __add__(self, other: OrderSwap) -> OrderSwap:
        """Join the counts of two batches."""
        mine, theirs = asdict(self), asdict(other)
        return OrderSwap(**{field: mine[field] + theirs[field] for field in mine})

    @property
    def abstentions(self) -> int:
        """Pairs with an unreadable reply in at least one order."""
        return self.pairs - self.answered

    @property
    def flip_rate(self) -> Interval:
        """Share of answered pairs where the order decided."""
        return wilson(self.flips, self.answered)

    @property
    def share_a(self) -> Interval:
        """Share of A among the replies: 0.5 for a judge without position bias.

        The pair is the unit. The interval is Wilson's for as many independent replies as pairs were
        shown, which errs on the wide side, since a consistent pair says A exactly once.
        """
        said = self.said_a / self.replies if self.replies else 0.5
        return wilson(said * self.pairs, self.pairs if self.replies else 0)

    def control(self, most_flips: float = MOST_FLIPS) -> dict[str, Any]:
        """Say whether the judge means the response.

        It fails when the judge flips more than ``most_flips`` of the pairs (one that gives the same
        letter throughout flips all), when its flips cannot be told from those of chance (the
        interval of the rate reaches 0.5), be it for want of pairs, and when it has no readable
        reply to half of the pairs.

        Returns:
            ``name``, ``ok`` and ``says``, JSON-ready.
        """
        rate, share = self.flip_rate, self.share_a
        constant = self.replies > 1 and self.said_a in (0, self.replies)
        heard = 2 * self.answered > self.pairs
        ok = heard and rate.mean <= most_flips and rate.high < CHANCE
        says = (
            f"of {self.pairs} pairs shown in both orders {self.flips} flip, {self.abstentions} "
            f"have no readable reply; it said A {share.mean:.0%} of the time "
            f"[{share.low:.0%}, {share.high:.0%}] (a fair judge: 50%)"
        )
        if constant:
            letter = "A" if self.said_a else "B"
            says += f"; it says {letter} whatever it is shown"
        elif self.answered and not ok:
            says += (
                f"; flips {rate.mean:.0%} [{rate.low:.0%}, {rate.high:.0%}] (at most "
                f"{most_flips:.0%}, and the interval below the {CHANCE:.0%} of chance)"
            )
        return {"name": "order swap", "ok": ok, "says": says}

    def summary(self) -> dict[str, Any]:
        """Return counts and rates, JSON-ready."""
        return {
            "pairs": self.pairs,
            "abstentions": self.abstentions,
            "flips": self.flips,
            "flip_rate": asdict(self.flip_rate),
            "share_a": asdict(self.share_a),
        }
