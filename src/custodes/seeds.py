"""Seeds that depend on what they are for, never on what ran before."""

from __future__ import annotations

import hashlib

__all__ = ["derive"]


def derive(seed: int, *purpose: str | int) -> int:
    """Derive an independent seed for a purpose, e.g. ``derive(seed, "respond", step)``.

    A resumed run draws what an uninterrupted one would have drawn, because no generator's state
    is carried from one step to the next.

    Returns:
        An integer in [0, 2**31), which every engine accepts.
    """
    text = "\x1f".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
