"""Judges: Experts that are language models, asked in words."""
