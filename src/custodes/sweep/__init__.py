"""Sweeps: where in the space of its parameters a supervised system behaves how."""
