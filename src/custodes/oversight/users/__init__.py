"""Users: where queries come from."""
