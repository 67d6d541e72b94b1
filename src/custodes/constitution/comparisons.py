"""Pairwise comparisons, and whether they contradict each other less than chance does.

Source: Kendall and Babington Smith, "On the method of paired comparisons", Biometrika 31, 1940.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from custodes.control import Control
from custodes.errors import DataError
from custodes.statistics import bootstrap_mean

__all__ = ["Comparison", "by_prompt_of", "check_connected", "names_of", "transitivity"]

LEAST_TRIADS = 20
"""With fewer triads the control is not tested."""


@dataclass(frozen=True)
class Comparison:
    """A comparison of two answers to one prompt.

    Attributes:
        prompt: Id of the prompt.
        first: Id of one response, or name of the system that wrote it.
        second: The other.
        preference: Probability that ``first`` is better, in [0, 1]; 0.5 is a draw.
    """

    prompt: str
    first: str
    second: str
    preference: float


def by_prompt_of(comparisons: Sequence[Comparison]) -> dict[str, list[Comparison]]:
    """Group comparisons by prompt, in order of first appearance.

    Raises:
        DataError: There are none, or one cannot be used.
    """
    if not comparisons:
        raise DataError("no comparisons", "compare at least two responses")
    by_prompt: dict[str, list[Comparison]] = defaultdict(list)
    for one in comparisons:
        if not 0 <= one.preference <= 1:  # also refuses NaN
            raise DataError(
                f"the comparison of {one.first!r} and {one.second!r} on prompt {one.prompt!r} has "
                f"the preference {one.preference}",
                "it is a probability in [0, 1]",
            )
        if one.first == one.second:
            raise DataError(f"prompt {one.prompt!r} compares {one.first!r} with itself")
        by_prompt[one.prompt].append(one)
    return by_prompt


def names_of(comparisons: Iterable[Comparison]) -> list[str]:
    """Return the compared names, in order of first appearance."""
    return list(dict.fromkeys(name for one in comparisons for name in (one.first, one.second)))


def check_connected(comparisons: Iterable[Comparison], what: str) -> None:
    """Check that all names were compared with each other, directly or through others.

    Args:
        comparisons: At least one.
        what: The names, for the message.

    Raises:
        DataError: They fall into groups.
    """
    root: dict[str, str] = {}

    def find(name: str) -> str:
        root.setdefault(name, name)
        while root[name] != name:
            name = root[name]
        return name

    for one in comparisons:
        root[find(one.first)] = find(one.second)
    groups: dict[str, list[str]] = defaultdict(list)
    for name in list(root):
        groups[find(name)].append(name)
    if len(groups) > 1:
        first, second = (names[0] for names in list(groups.values())[:2])
        raise DataError(
            f"{what} cannot be put in one order: {first!r} and {second!r} were never compared, not "
            "even through others",
            "compare them",
        )


def transitivity(comparisons: Sequence[Comparison], *, seed: int = 0) -> Control:
    """Check that the comparisons within a prompt contradict each other less than chance does.

    If A beats B and B beats C, then C should not beat A. Verdicts by chance form such a circle in a
    quarter of all triads, and no ranking can be read from them.

    Args:
        comparisons: Those of a judge, or of people; draws form no triad.
        seed: Draws the bootstrap samples, of prompts.
    """
    name = "comparisons form fewer circles than chance"
    shares, triads = [], 0
    for group in by_prompt_of(comparisons).values():
        circles = _circles(group)
        if circles:
            shares.append((sum(circles), len(circles)))
            triads += len(circles)
    if triads < LEAST_TRIADS or len(shares) < 2:
        return Control.not_tested(
            name,
            f"{triads} triads of responses were compared without a draw, fewer than "
            f"{LEAST_TRIADS}: compare three or more responses to each prompt",
        )
    # A ratio of sums over prompts: its excess over a quarter is a mean over prompts.
    excess = bootstrap_mean([circles - total / 4 for circles, total in shares], seed)
    share = sum(circles for circles, _ in shares) / triads
    figures = {"circular": share, "chance": 0.25, "triads": triads, "prompts": len(shares)}
    explanation = f"{share:.1%} of {triads} triads are circular; verdicts by chance give 25%"
    return Control(name, excess.high < 0, explanation, figures)


def _circles(comparisons: Sequence[Comparison]) -> list[bool]:
    """Return, for each triad compared in full and without a draw, whether it is circular."""
    wins: dict[tuple[str, str], float] = defaultdict(float)
    for one in comparisons:
        wins[one.first, one.second] += one.preference - 0.5
        wins[one.second, one.first] -= one.preference - 0.5
    circles = []
    for a, b, c in combinations(names_of(comparisons), 3):
        around = [wins.get(edge, 0.0) for edge in ((a, b), (b, c), (c, a))]
        if all(abs(w) > 1e-9 for w in around):
            circles.append(len({w > 0 for w in around}) == 1)
    return circles
