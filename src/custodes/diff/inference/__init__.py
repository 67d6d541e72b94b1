"""Inference: how a diff decides which behaviours changed."""
