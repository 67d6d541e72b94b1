"""Reward functions: conversations and completions in, one number each out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custodes.conversation import Chat
from custodes.errors import CustodesError

__all__ = ["Reward", "rewards_of"]

Reward = Callable[[Sequence[Chat], Sequence[str]], Sequence[float]]
"""Scores ``completions[i]`` as the answer to ``chats[i]``: n finite numbers, higher is better."""


def rewards_of(
    reward: Reward, chats: Sequence[Chat], completions: Sequence[str], *, what: str = "reward"
) -> NDArray[np.float64]:
    """Call a reward function and check what it returns.

    Args:
        reward: The function.
        chats: n conversations.
        completions: n completions.
        what: Names the function in errors.

    Returns:
        Shape (n,), finite.

    Raises:
        CustodesError: It raised, or did not return n finite numbers. The message names the first
            value that is wrong, and its completion.
    """
    name = f"the {what} function {getattr(reward, '__name__', type(reward).__name__)}"
    try:
        values: Any = reward(chats, completions)
    except CustodesError:
        raise
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise CustodesError(f"{name} failed ({text})", "try it on a few completions alone") from (
            error
        )
    try:
        values = list(values)
    except TypeError:
        raise CustodesError(
            f"{name} returned {type(values).__name__}", "return a list of floats"
        ) from None
    if len(values) != len(completions):
        raise CustodesError(
            f"{name} returned {len(values)} values for {len(completions)} completions",
            "return one float for each completion, in their order",
        )
    for at, value in enumerate(values):
        problem = _problem(value)
        if problem:
            raise CustodesError(
                f"{name} returned {problem} for completion {at} ({completions[at][:60]!r})",
                "return a finite float for every completion, empty ones too",
            )
    return np.array([float(value) for value in values], np.float64)


def _problem(value: Any) -> str:
    """Say what is wrong with a reward, "" if nothing is."""
    if value is None:
        return "None"
    try:
        number = float(value)
    except (TypeError, ValueError):
        return f"{value!r:.60}, which is no number,"
    return "" if math.isfinite(number) else str(number)
