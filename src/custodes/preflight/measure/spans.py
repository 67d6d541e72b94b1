"""Where a text lies among token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["decoded", "squeezed", "text_span"]


def decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    """Return the text of ids, special tokens and spaces as they are."""
    return str(
        tokenizer.decode(
            [int(one) for one in ids], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
    )


def squeezed(text: str) -> str:
    """Return a text without white space, which tokenizers move about."""
    return "".join(text.split())


def text_span(tokenizer: Any, ids: Sequence[int], text: str) -> tuple[int, int] | None:
    """Return the half-open range of ids that spell a text, or None.

    Both ends are found by bisection: a longer suffix contains whatever a shorter one does. Where
    the text occurs more than once it is the last place.
    """
    wanted = squeezed(text)
    if not wanted or wanted not in squeezed(decoded(tokenizer, ids)):
        return None
    low, high = 0, len(ids)  # The text is in ids[low:], not in ids[high:].
    while high - low > 1:
        middle = (low + high) // 2
        if wanted in squeezed(decoded(tokenizer, ids[middle:])):
            low = middle
        else:
            high = middle
    start = low
    low, high = start, len(ids)  # The text is in ids[start:high], not in ids[start:low].
    while high - low > 1:
        middle = (low + high) // 2
        if wanted in squeezed(decoded(tokenizer, ids[start:middle])):
            high = middle
        else:
            low = middle
    return start, high
