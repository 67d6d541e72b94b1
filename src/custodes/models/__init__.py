"""Language models: the only room that runs one. Engines are imported when a model is loaded."""

from custodes.models.base import (
    Array,
    LanguageModel,
    Sampling,
    ScoringModel,
    TokenLogprobs,
    Usage,
)

__all__ = [
    "Array",
    "LanguageModel",
    "Sampling",
    "ScoringModel",
    "TokenLogprobs",
    "Usage",
]
