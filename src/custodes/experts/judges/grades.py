"""The control that grades differ: constant grades carry no information about the responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from custodes.control import Control

__all__ = ["grades_vary"]

LEAST_GRADES = 8
"""Fewer grades than this can all be the same by chance."""

LARGEST_SHARE = 0.9


def grades_vary(name: str, counts: Mapping[Any, int]) -> Control:
    """Check that no single grade makes up nearly all grades of a judge or a person.

    Args:
        name: The control's.
        counts: How often each grade was given.
    """
    total = sum(counts.values())
    if total < LEAST_GRADES:
        return Control.not_tested(
            name, f"{total} grades were given so far (at least {LEAST_GRADES} are needed)"
        )
    grade, times = max(counts.items(), key=lambda item: item[1])
    return Control(
        name,
        times <= LARGEST_SHARE * total,
        f"{times} of {total} grades are {grade} (at most {LARGEST_SHARE:.0%} may be)",
        {"grade": grade, "times": times, "grades": total, "most": LARGEST_SHARE},
    )
