"""Heads: Experts that read the hidden states of a frozen model."""
