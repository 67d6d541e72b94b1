"""Several adapters of one model in one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["mixed_adapters"]


@contextmanager
def mixed_adapters(model: Any, names: Sequence[str]) -> Iterator[None]:
    """Compute the parts of a batch with different adapters, as peft does for mixed batches.

    Args:
        model: A model with adapters injected, or none.
        names: Adapter of each equal part of the batch.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [m for m in model.modules() if isinstance(m, BaseTunerLayer)]
    switched_off = [layer for layer in layers if layer.disable_adapters]

    def mix(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        rows = len(args[0]) // len(names)
        return args, kwargs | {"adapter_names": [name for name in names for _ in range(rows)]}

    hooks = [layer.register_forward_pre_hook(mix, with_kwargs=True) for layer in layers]
    for layer in switched_off:
        layer.enable_adapters(True)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer in switched_off:
            layer.enable_adapters(False)
