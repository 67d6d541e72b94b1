"""Teachers: how a Worker is retrained."""
