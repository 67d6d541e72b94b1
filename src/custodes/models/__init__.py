"""The only room that runs a model. Engines are imported when a model is loaded, not before."""

from custodes.models.base import (
    Array,
    Chat,
    LanguageModel,
    Message,
    Sampling,
    ScoringModel,
    TokenLogprobs,
    Usage,
    user_chat,
)

__all__ = [
    "Array",
    "Chat",
    "LanguageModel",
    "Message",
    "Sampling",
    "ScoringModel",
    "TokenLogprobs",
    "Usage",
    "user_chat",
]
