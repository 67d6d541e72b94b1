"""The gold score and what is measured beside it."""
