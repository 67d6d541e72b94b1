"""The order-swap control: does a judge mean the response, or the place where it stands?

Zheng et al., "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", NeurIPS 2023, section 3.3
(position bias) and 3.4 (asking in both orders, and taking a verdict only when they agree).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from custodes.control import Control
from custodes.experts.judges.template import Choice
from custodes.statistics import Interval

__all__ = ["CHANCE", "MOST_FLIPS", "OrderSwap", "Preference", "preferences", "wilson"]

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
class Preference:
    """A judge's verdict on a pair that it saw in both orders.

    Attributes:
        choice: The better response, None where the judge abstains.
        reason: Why it abstains: "flip", or "unreadable reply".
    """

    choice: Literal["a", "b"] | None
    reason: str = ""


def preferences(
    forward: Sequence[Choice | None], swapped: Sequence[Choice | None]
) -> list[Preference]:
    """Turn replies to the two orders into verdicts; one that changes with the order abstains.

    Args:
        forward: For each pair, the letter given when response a was shown as A; None where the
            reply was unreadable.
        swapped: The letter given when response a was shown as B.
    """
    return [_preference(f, s) for f, s in zip(forward, swapped, strict=True)]


def _preference(forward: Choice | None, swapped: Choice | None) -> Preference:
    if forward is None or swapped is None:
        return Preference(None, "unreadable reply")
    if forward == swapped:
        return Preference(None, "flip")
    return Preference("a" if forward == "A" else "b")


@dataclass(frozen=True)
class OrderSwap:
    """Counts of a judge's replies to pairs that it was shown in both orders.

    Attributes:
        pairs: Pairs shown.
        answered: Pairs with a readable reply in both orders; the others are abstentions.
        flips: Answered pairs where the two replies contradict each other.
        replies: Readable replies, at most two a pair.
        first: Readable replies that name the response shown first (A).
    """

    pairs: int = 0
    answered: int = 0
    flips: int = 0
    replies: int = 0
    first: int = 0

    @staticmethod
    def of(forward: Sequence[Choice | None], swapped: Sequence[Choice | None]) -> OrderSwap:
        """Count replies to the same pairs in the two orders."""
        verdicts = preferences(forward, swapped)
        flips = sum(verdict.reason == "flip" for verdict in verdicts)
        letters = [reply for reply in (*forward, *swapped) if reply]
        return OrderSwap(
            pairs=len(forward),
            answered=flips + sum(verdict.choice is not None for verdict in verdicts),
            flips=flips,
            replies=len(letters),
            first=letters.count("A"),
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
        share = self.first / self.replies if self.replies else 0.5
        return wilson(share * self.pairs, self.pairs if self.replies else 0)

    def control(self, most_flips: float = MOST_FLIPS) -> Control:
        """Check that the judge's verdicts depend on the responses and not on their order.

        It fails when the judge flips more than ``most_flips`` of the pairs (one that gives the same
        letter throughout flips all), when its flips cannot be told from those of chance (the
        interval of the rate reaches 0.5), be it for want of pairs, and when it has no readable
        reply to half of the pairs. Without pairs it is not tested.

        Args:
            most_flips: Largest share of flips that passes, in [0, 1].
        """
        if not self.pairs:
            return Control.not_tested("order swap", "the judge has compared no pair")
        rate, share = self.flip_rate, self.share_a
        constant = self.replies > 1 and self.first in (0, self.replies)
        heard = 2 * self.answered > self.pairs
        passed = heard and rate.mean <= most_flips and rate.high < CHANCE
        explanation = (
            f"of {self.pairs} pairs shown in both orders {self.flips} flip, {self.abstentions} "
            f"have no readable reply; the judge answered A {share.mean:.0%} of the time "
            f"[{share.low:.0%}, {share.high:.0%}] (a fair judge: 50%)"
        )
        if constant:
            letter = "A" if self.first else "B"
            explanation += f"; it answers {letter} whatever it is shown"
        elif self.answered and not passed:
            explanation += (
                f"; flips {rate.mean:.0%} [{rate.low:.0%}, {rate.high:.0%}] (at most "
                f"{most_flips:.0%}, and the interval below the {CHANCE:.0%} of chance)"
            )
        figures = {**self.summary(), "most_flips": most_flips}
        return Control("order swap", passed, explanation, figures)

    def summary(self) -> dict[str, Any]:
        """Return counts and rates, JSON-ready."""
        return {
            "pairs": self.pairs,
            "abstentions": self.abstentions,
            "flips": self.flips,
            "flip_rate": asdict(self.flip_rate),
            "share_a": asdict(self.share_a),
        }
