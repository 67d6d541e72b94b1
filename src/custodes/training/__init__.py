"""custodes.training."""
