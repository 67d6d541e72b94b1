"""Shipped data: prompts and judge templates."""
