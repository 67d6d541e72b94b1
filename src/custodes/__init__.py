"""custodes: a laboratory for language models that train, rate and watch other models."""

__version__ = "0.1.0"
