"""Training by a constitution: ranking of responses that were compared pairwise."""

from custodes.constitution.comparisons import Comparison, transitivity
from custodes.constitution.ranking import (
    RankedPair,
    Ranking,
    Standing,
    pairs_with_margins,
    rank,
    response_scores,
)

__all__ = [
    "Comparison",
    "RankedPair",
    "Ranking",
    "Standing",
    "pairs_with_margins",
    "rank",
    "response_scores",
    "transitivity",
]
