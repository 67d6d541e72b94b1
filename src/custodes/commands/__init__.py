"""Verbs with more options than fit into cli.py: they parse, call and print."""
