"""Planted bugs and clean trainers: the preflight's own control."""
