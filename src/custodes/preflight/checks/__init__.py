"""The checks, by subject; importing a module registers what it holds."""

from __future__ import annotations

from importlib import import_module

__all__ = ["MODULES", "load"]

MODULES = (
    "data",
    "leakage",
    "schedule",
    "tokens",
    "texts",
    "masks",
    "model",
    "step",
    "effect",
    "reference",
    "invariance",
    "saving",
    "rollout",
    "reward",
    "processes",
)


def load() -> None:
    """Register every check."""
    for name in MODULES:
        import_module(f"custodes.preflight.checks.{name}")
