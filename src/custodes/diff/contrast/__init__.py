"""Contrast: where two models, both at hand, diverge."""
