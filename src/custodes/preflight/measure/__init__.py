"""What a preflight measures: pure functions of a case."""
