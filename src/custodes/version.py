"""The package's version, for every room to read."""

__all__ = ["__version__"]

__version__ = "0.1.0"
