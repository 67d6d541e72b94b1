"""Numbering the draws of a batch, so that each has its own randomness whatever is around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

__all__ = ["number_draws"]


def number_draws(items: Sequence[Hashable], n: int) -> list[range]:
    """Number ``n`` draws for each item; an item that comes again goes on counting.

    A draw is then named by its item and its number alone. It does not depend on the rest of the
    batch or on its order, so a batch that was cut short, split or sorted draws the same texts, and
    two equal prompts in one batch are still two samples.

    >>> number_draws(["a", "b", "a"], 2)
    [range(0, 2), range(0, 2), range(2, 4)]
    """
    seen: Counter[Hashable] = Counter()
    numbers = []
    for item in items:
        numbers.append(range(seen[item], seen[item] + n))
        seen[item] += n
    return numbers
