"""What to do when nobody says anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from custodes.errors import CustodesError
from custodes.experts.expert import Expert, Rating
from custodes.text import one_line

__all__ = ["require_some"]


def require_some(expert: Expert, ratings: Sequence[Rating]) -> None:
    """Stop when an Expert abstained on a whole batch: a loop cannot go on blindly.

    Whoever rates a batch calls this on what came back; an empty batch is fine.

    Raises:
        CustodesError: Every rating is an abstention. It names the most frequent reason.
    """
    if not ratings or not all(rating.abstained for rating in ratings):
        return
    ((reason, times),) = Counter(rating.reason for rating in ratings).most_common(1)
    raise CustodesError(
        f"the Expert {expert.name} has rated none of {len(ratings)} responses "
        f"({times} times: {one_line(reason, 80) or 'no reason'})",
        "use another Expert for this domain; what was done is kept",
    )
