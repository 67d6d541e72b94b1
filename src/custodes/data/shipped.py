"""The prompts, concepts and statements that ship with custodes."""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "SHIPPED",
    "shipped_concepts",
    "shipped_facts",
    "shipped_path",
    "shipped_statements",
]

SHIPPED = ("everyday", "harm_adjacent", "look_alikes")


def shipped_path(name: str) -> Path:
    """Return the file of a shipped set (one of `SHIPPED`).

    Each line has ``id``, ``topic``, ``split`` ("loop" or "gold") and ``prompt``.
    """
    return Path(__file__).parent / "prompts" / f"{name}.jsonl"


def shipped_concepts() -> Path:
    """Return the file of the shipped concepts: YAML, by name a list of sentences."""
    return Path(__file__).parent / "concepts.yaml"


def shipped_statements() -> Path:
    """Return the file of the shipped statements of values.

    Each line has ``id``, ``behavior``, ``statement``, ``answer_matching_behavior`` ("agree" or
    "disagree") and ``pair``, which a statement shares with its opposite.
    """
    return Path(__file__).parent / "statements" / "values.jsonl"


def shipped_facts() -> Path:
    """Return the file of plain facts and their opposites, in the form of the statements."""
    return Path(__file__).parent / "statements" / "facts.jsonl"
