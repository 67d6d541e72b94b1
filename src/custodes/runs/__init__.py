"""custodes.runs."""
