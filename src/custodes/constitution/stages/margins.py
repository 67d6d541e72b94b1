"""Margins for the reward loss, from a ranking of each prompt's answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from custodes.constitution.comparisons import Comparison
from custodes.constitution.ranking import response_scores
from custodes.errors import DataError

if TYPE_CHECKING:
    from custodes.constitution.stages.preferences import Pair

__all__ = ["margins_of"]


def margins_of(pairs: Sequence[Pair], most: float) -> None:
    """Write the difference of the answers' Bradley-Terry scores into each pair, in place.

    A pair gets no margin where its prompt's answers cannot be put in one order, or where the
    ranking of all answers disagrees with the pair's own label.

    Args:
        pairs: The pairs of all prompts.
        most: Larger margins are clipped to this one, in log-odds; 0 gives no margins.
    """
    by_prompt: dict[str, list[Pair]] = {}
    for pair in pairs:
        if pair.label is not None:
            by_prompt.setdefault(pair.query.id, []).append(pair)
    for own in by_prompt.values():
        comparisons = [
            Comparison(pair.query.id, pair.a, pair.b, pair.label)
            for pair in own
            if pair.label is not None
        ]
        try:
            scores = response_scores(comparisons)[own[0].query.id]
        except DataError:
            continue
        for pair in own:
            assert pair.label is not None
            gap = scores[pair.a] - scores[pair.b]
            pair.margin = round(min(max(gap if pair.label > 0.5 else -gap, 0.0), most), 4)
