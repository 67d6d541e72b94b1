"""Sentence embeddings that cost nothing: averaged word vectors, in the package's own weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custodes.errors import ModelError
from custodes.models.base import Array

__all__ = ["embed", "pieces"]

DIMENSIONS = 256
BATCH = 4096


def embed(texts: Sequence[str]) -> Array:
    """Embed texts with WordLlama's 256-d vectors, without the network.

    Returns:
        Shape (len(texts), 256), rows of length 1; the row of a text without any token is 0.

    Raises:
        ModelError: The ``wordllama`` package is not installed.
    """
    model = _model()
    out = np.zeros((len(texts), DIMENSIONS), np.float32)
    for start in range(0, len(texts), BATCH):
        batch = [text if text.strip() else "." for text in texts[start : start + BATCH]]
        out[start : start + len(batch)] = model.embed(batch, norm=True)
    blank = np.array([not text.strip() for text in texts], bool)
    out[blank] = 0.0
    return np.nan_to_num(out)


def pieces(words: Sequence[str]) -> NDArray[np.int64]:
    """Count the pieces that the embeddings' tokenizer cuts each word into.

    Words that are common in English text are one piece; misspelt ones, names, and words of
    other languages are several.
    """
    encoded = _model().tokenizer.encode_batch(list(words), add_special_tokens=False)
    # A batch is padded to its longest word.
    return np.array([sum(e.attention_mask) for e in encoded], np.int64)


@cache
def _model() -> Any:
    try:
        import wordllama
    except ImportError as error:
        raise ModelError("wordllama is not installed", "pip install wordllama") from error
    folder = Path(wordllama.__file__).parent
    return wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
