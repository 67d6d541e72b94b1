"""Drift: how a lineage of models moves away from its first generation."""
