"""Perturbations: what disturbs the loop, on a schedule, and how the loop recovers."""
