"""The summary of a run, rebuilt from its log."""
