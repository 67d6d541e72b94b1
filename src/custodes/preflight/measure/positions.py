"""Which tokens a loss trains, seen from its gradient at the last hidden states.

A loss over next-token predictions has a gradient at the hidden state before each token that it
counts, and none elsewhere. So the gradient names the trained tokens, whatever the loss is called
and however its mask is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["Watch", "watched"]


class Watch:
    """Hidden states that took part in a loss."""

    def __init__(self) -> None:
        self.states: list[torch.Tensor] = []

    def trained(self, shape: tuple[int, int]) -> torch.Tensor | None:
        """Return which tokens of a (rows, columns) batch are trained, or None if that is not seen.

        A token is trained where the state before it has a gradient; column 0 never is.
        """
        found = torch.zeros(shape, dtype=torch.bool)
        seen, start = False, 0
        states = [s for s in self.states if s.grad is not None and s.ndim == 3]
        for state in states:
            if state.shape[1] != shape[1] or state.grad is None:
                continue
            rows = state.shape[0]
            if start + rows > shape[0]:
                return None
            reached = (state.grad != 0).any(-1).cpu()
            found[start : start + rows, 1:] |= reached[:, :-1]
            start += rows
            seen = True
        return found if seen and start == shape[0] else None


@contextmanager
def watched(base: Any) -> Iterator[Watch]:
    """Keep the gradients of the backbone's last hidden states while a loss is computed."""
    watch = Watch()
    backbone = getattr(base, "base_model", None)
    if backbone is None or backbone is base:
        yield watch
        return

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        state = getattr(output, "last_hidden_state", None)
        if state is None and isinstance(output, tuple) and output:
            state = output[0]
        if isinstance(state, torch.Tensor) and state.requires_grad and torch.is_grad_enabled():
            state.retain_grad()
            watch.states.append(state)

    handle = backbone.register_forward_hook(keep)
    try:
        yield watch
    finally:
        handle.remove()
