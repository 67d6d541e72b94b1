"""Formats in which weights enter and leave custodes."""
