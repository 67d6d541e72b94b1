"""Numbers for the draws of a batch, so that a draw does not depend on the rest of the batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

__all__ = ["number_draws"]


def number_draws(items: Sequence[Hashable], n: int) -> list[range]:
    """Number ``n`` draws of each item; a repeated item continues the count.

    An item and a number then identify a draw. It does not depend on the rest of the
    batch or on its order, so a batch that was cut short, split or sorted draws the same texts, and
    two equal prompts in one batch are still two samples.

    >>> number_draws(["a", "b", "a"], 2)
    [range(0, 2), range(0, 2), range(2, 4)]
    """
    counts: Counter[Hashable] = Counter()
    numbers = []
    for item in items:
        numbers.append(range(counts[item], counts[item] + n))
        counts[item] += n
    return numbers
