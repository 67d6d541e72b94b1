"""custodes.diff."""
