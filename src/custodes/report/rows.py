"""Some rows of a table that may be long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Row", "Shown", "shown"]

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Shown:
    """Some rows of a table, and how many there are in all."""

    rows: Sequence[Row]
    total: int


def shown(rows: Sequence[Row], most: int) -> Shown:
    """Leave out rows evenly where there are more than ``most`` (>= 2); the two ends stay."""
    if len(rows) <= most:
        return Shown(rows, len(rows))
    kept = [round(i * (len(rows) - 1) / (most - 1)) for i in range(most)]
    return Shown([rows[i] for i in kept], len(rows))
