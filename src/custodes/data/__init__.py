"""Data: reading datasets, and what ships with custodes (prompts, judge templates, Experts)."""

from __future__ import annotations

from custodes.data.datasets import (
    read_demonstrations,
    read_pairs,
    read_prompts,
)
from custodes.data.shipped import SHIPPED, shipped_concepts, shipped_path

__all__ = [
    "SHIPPED",
    "read_demonstrations",
    "read_pairs",
    "read_prompts",
    "shipped_concepts",
    "shipped_path",
]
