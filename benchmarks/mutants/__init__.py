"""The damages of benchmarks/mutations.py: each replaces one function by a wrong one."""

from __future__ import annotations

from mutants import experts, gold, loop, overseer, teacher
from mutants.mutant import Mutant

__all__ = ["MUTANTS", "Mutant"]

MUTANTS: tuple[Mutant, ...] = (
    *experts.MUTANTS,
    *teacher.MUTANTS,
    *overseer.MUTANTS,
    *loop.MUTANTS,
    *gold.MUTANTS,
)
