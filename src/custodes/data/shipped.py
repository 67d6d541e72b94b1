"""The prompt sets that ship with custodes, by name."""

from __future__ import annotations

from pathlib import Path

__all__ = ["SHIPPED", "shipped_concepts", "shipped_path"]

SHIPPED = ("everyday", "harm_adjacent", "look_alikes")


def shipped_path(name: str) -> Path:
    """Return the file of a shipped set (one of `SHIPPED`).

    Each line has ``id``, ``topic``, ``split`` ("loop" or "gold") and ``prompt``.
    """
    return Path(__file__).parent / "prompts" / f"{name}.jsonl"


def shipped_concepts() -> Path:
    """Return the file of the shipped concepts: YAML, by name a list of sentences."""
    return Path(__file__).parent / "concepts.yaml"
