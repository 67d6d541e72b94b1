"""The only room that runs a model. Engines are imported when a model is loaded, not before."""

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
