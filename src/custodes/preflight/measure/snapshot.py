"""Everything that a preflight may change, remembered and put back exactly.

The snapshot walks all objects that can be reached from a trainer: attributes, lists, dicts, sets,
closures of the user's functions, random generators, tensors. What it saw it puts back in place, so
that every reference to an object stays valid. Frozen weights are not copied, which keeps the memory
at one copy of what is trained; `differences` compares them by checksum.
"""

from __future__ import annotations

import random
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

__all__ = ["Snapshot"]

# Libraries whose objects hold no training state, or cannot be put back.
_OPAQUE = frozenset(
    [
        "asyncio",
        "threading",
        "_thread",
        "multiprocessing",
        "concurrent",
        "logging",
        "ssl",
        "socket",
        "http",
        "urllib3",
        "requests",
        "httpx",
        "openai",
        "pyarrow",
        "importlib",
        "selectors",
        "weakref",
        "contextvars",
        "queue",
        "subprocess",
        "io",
        "_io",
        "tqdm",
        "wandb",
        "mlflow",
        "tensorboard",
    ]
)
# Functions of these packages keep no state that a step would change.
_LIBRARIES = frozenset(
    [
        "torch",
        "transformers",
        "trl",
        "peft",
        "accelerate",
        "datasets",
        "numpy",
        "tokenizers",
        "safetensors",
        "builtins",
        "functools",
        "inspect",
    ]
)
_LONG = 4096  # Longer sequences are remembered, but their items are not walked.
_LARGE = 1 << 28  # Bytes; a larger tensor that is neither a weight nor optimizer state is left.
_MOST = 400_000  # Objects.


class Snapshot:
    """The state of a trainer and of the process, to be put back in place.

    Args:
        roots: Objects whose state is remembered, with all that can be reached from them.
        uncopied: Weights that are not copied, as those of a reference, which nothing trains.
    """

    def __init__(self, *roots: Any, uncopied: Iterable[torch.Tensor] = ()) -> None:
        self._uncopied = {id(tensor) for tensor in uncopied}
        self._undo: list[Callable[[], None]] = []
        self._seen: dict[int, Any] = {}
        self._tensors: list[tuple[torch.Tensor, torch.Tensor, Any, bool, Any, Any]] = []
        self._frozen: list[tuple[torch.Tensor, int]] = []
        self.errors: list[str] = []
        self._python = random.getstate()
        self._numpy = np.random.get_state()
        self._torch = torch.get_rng_state()
        on_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        self._cuda = torch.cuda.get_rng_state_all() if on_gpu else None
        self._walk(list(roots))

    def _walk(self, waiting: list[Any]) -> None:
        while waiting:
            thing = waiting.pop()
            if thing is None or isinstance(thing, (str, bytes, int, float, complex, bool, type)):
                continue
            if id(thing) in self._seen or len(self._seen) > _MOST:
                continue
            self._seen[id(thing)] = thing
            waiting.extend(self._remember(thing))

    def _remember(self, thing: Any) -> list[Any]:  # noqa: PLR0911 - one line a type
        """Remember one object, and return what it holds."""
        if isinstance(thing, torch.Tensor):
            return self._tensor(thing)
        if isinstance(thing, (torch.Generator, random.Random)):
            return self._generator(thing)
        if isinstance(thing, (np.random.Generator, np.random.RandomState)):
            return self._numpy_generator(thing)
        if isinstance(thing, dict):
            return self._container(thing, dict(thing), list(thing.values()))
        if isinstance(thing, (list, deque)):
            return self._container(thing, list(thing), list(thing))
        if isinstance(thing, set):
            return self._container(thing, set(thing), [])
        if isinstance(thing, (tuple, frozenset)):
            return list(thing) if len(thing) <= _LONG else []
        if isinstance(thing, types.MethodType):
            return [thing.__self__, thing.__func__]
        if isinstance(thing, types.FunctionType):
            return self._function(thing)
        if isinstance(thing, np.ndarray):
            return self._array(thing)
        return self._object(thing)

    def _container(self, thing: Any, kept: Any, inside: list[Any]) -> list[Any]:
        def undo() -> None:
            if isinstance(thing, (list, deque)):
                if len(thing) != len(kept) or any(a is not b for a, b in zip(thing, kept)):  # noqa: B905
                    thing.clear()
                    thing.extend(kept)
            elif isinstance(thing, set):
                if thing != kept:
                    thing.clear()
                    thing.update(kept)
            elif (
                len(thing) != len(kept)
                or any(key not in thing or thing[key] is not kept[key] for key in kept)
                or list(thing) != list(kept)
            ):
                # An OrderedDict keeps its order apart: dict's own methods would break it.
                kind: type[dict[Any, Any]] = OrderedDict if isinstance(thing, OrderedDict) else dict
                kind.clear(thing)
                kind.update(thing, kept)

        self._undo.append(undo)
        return inside if len(inside) <= _LONG else []

    def _object(self, thing: Any) -> list[Any]:
        module = type(thing).__module__.split(".")[0]
        if module in _OPAQUE or isinstance(thing, types.ModuleType):
            return []
        if module == "tokenizers":
            return self._rust_tokenizer(thing)
        attributes = getattr(thing, "__dict__", None)
        if not isinstance(attributes, dict):
            return []
        inside = self._container(attributes, dict(attributes), list(attributes.values()))
        self._seen[id(attributes)] = attributes
        slots = [
            name
            for kind in type(thing).__mro__
            for name in _slots(kind)
            if hasattr(thing, name) and name not in ("__dict__", "__weakref__")
        ]
        for name in slots:
            inside.append(self._slot(thing, name))
        return inside

    def _slot(self, thing: Any, name: str) -> Any:
        value = getattr(thing, name)

        def undo() -> None:
            if getattr(thing, name, None) is not value:
                setattr(thing, name, value)

        if not callable(value):
            self._undo.append(undo)
        return value

    def _rust_tokenizer(self, thing: Any) -> list[Any]:
        if not hasattr(thing, "enable_padding"):
            return []
        padding, truncation = thing.padding, thing.truncation

        def undo() -> None:
            if thing.padding != padding:
                thing.enable_padding(**padding) if padding else thing.no_padding()
            if thing.truncation != truncation:
                thing.enable_truncation(**truncation) if truncation else thing.no_truncation()

        self._undo.append(undo)
        return []

    def _function(self, thing: types.FunctionType) -> list[Any]:
        """Remember what a user's function keeps between calls: its closure and its globals."""
        inside: list[Any] = []
        if getattr(thing, "__wrapped__", None) is not None:
            inside.append(getattr(thing, "__wrapped__", None))
        for cell in thing.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:
                continue
            self._undo.append(_cell_setter(cell, value))
            inside.append(value)
        if (thing.__module__ or "").split(".")[0] in _LIBRARIES:
            return inside
        inside.append(thing.__dict__)
        for name in thing.__code__.co_names:
            if name not in thing.__globals__:
                continue
            value = thing.__globals__[name]
            simple = (int, float, str, bool, list, dict, set, deque, random.Random)
            kinds = (*simple, np.random.Generator, types.FunctionType)
            if value is None or isinstance(value, kinds):
                if not isinstance(value, types.FunctionType):
                    self._undo.append(_item_setter(thing.__globals__, name, value))
                inside.append(value)
        return inside

    def _generator(self, thing: Any) -> list[Any]:
        if isinstance(thing, torch.Generator):
            state = thing.get_state()
            self._undo.append(_state_setter(thing, state))
        else:
            kept = thing.getstate()
            self._undo.append(lambda: thing.setstate(kept))
        return []

    def _numpy_generator(self, thing: Any) -> list[Any]:
        if isinstance(thing, np.random.RandomState):
            legacy = thing.get_state()
            self._undo.append(lambda: thing.set_state(legacy))
            return []
        state = thing.bit_generator.state

        def undo() -> None:
            thing.bit_generator.state = state

        self._undo.append(undo)
        return []

    def _array(self, thing: np.ndarray) -> list[Any]:
        if thing.nbytes <= _LARGE and thing.dtype != object and thing.flags.writeable:
            kept = thing.copy()
            self._undo.append(lambda: np.copyto(thing, kept))
        return []

    def _tensor(self, thing: torch.Tensor) -> list[Any]:
        if thing.device.type == "meta":
            return []
        parameter = isinstance(thing, torch.nn.Parameter)
        if parameter and (not thing.requires_grad or id(thing) in self._uncopied):
            self._frozen.append((thing, thing._version))
            self._undo.append(_frozen_setter(thing, thing.requires_grad))
            grad = thing.grad
            self._undo.append(lambda: setattr(thing, "grad", grad))
            return []
        if not parameter and thing.numel() * thing.element_size() > _LARGE:
            return []
        gradient = thing.grad if thing.is_leaf else None
        self._tensors.append(
            (
                thing,
                thing.detach().clone(),
                thing.data,
                thing.requires_grad,
                gradient,
                None if gradient is None else gradient.detach().clone(),
            )
        )
        return []

    @property
    def torch_state(self) -> torch.Tensor:
        """Torch's random state as it was."""
        return self._torch

    def include(self, *roots: Any) -> None:
        """Remember more objects, as they are now."""
        self._walk(list(roots))

    def copies(self) -> dict[int, torch.Tensor]:
        """Return the copy that was made of each tensor, by the tensor's id."""
        return {id(tensor): kept for tensor, kept, *_ in self._tensors}

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back in place."""
        for undo in reversed(self._undo):
            try:
                undo()
            except Exception as error:
                self.errors.append(f"could not be put back: {type(error).__name__}: {error}"[:200])
        for tensor, kept, data, needs, gradient, kept_gradient in self._tensors:
            if tensor.data_ptr() != data.data_ptr() or tensor.dtype != kept.dtype:
                tensor.data = data
            if not torch.equal(_bits(tensor), _bits(kept)):
                tensor.data.copy_(kept)
            if tensor.is_leaf:
                tensor.requires_grad_(needs)
                tensor.grad = gradient
                if gradient is not None and kept_gradient is not None:
                    gradient.data.copy_(kept_gradient)
        self.restore_random()

    def restore_random(self) -> None:
        """Put the global random states back."""
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        torch.set_rng_state(self._torch)
        if self._cuda is not None:
            torch.cuda.set_rng_state_all(self._cuda)

    def differences(self) -> list[str]:
        """Say what is not as it was: an empty list after `restore`."""
        found = list(self.errors)
        for tensor, kept, _data, needs, gradient, _ in self._tensors:
            if tensor.shape != kept.shape or not torch.equal(_bits(tensor), _bits(kept)):
                found.append(f"a tensor of shape {tuple(tensor.shape)} changed")
            if tensor.requires_grad != needs or (tensor.is_leaf and tensor.grad is not gradient):
                found.append(f"a tensor of shape {tuple(tensor.shape)} has another gradient state")
        found += [
            f"a frozen weight of shape {tuple(tensor.shape)} was written to"
            for tensor, version in self._frozen
            if tensor._version != version
        ]
        if random.getstate() != self._python:
            found.append("Python's random state moved")
        mine, now = self._numpy, np.random.get_state()
        if not np.array_equal(mine[1], now[1]) or mine[2:] != now[2:]:  # type: ignore[index]
            found.append("numpy's random state moved")
        if not torch.equal(self._torch, torch.get_rng_state()):
            found.append("torch's random state moved")
        return found


def _slots(kind: type) -> tuple[str, ...]:
    names = vars(kind).get("__slots__", ())
    return (names,) if isinstance(names, str) else tuple(names)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """View a tensor as integers, so that NaN equals NaN and 0 differs from −0."""
    flat = tensor.detach().contiguous()
    if flat.is_complex():
        flat = torch.view_as_real(flat)
    width = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}.get(
        flat.element_size()
    )
    return flat if width is None or flat.is_quantized else flat.view(width)


def _frozen_setter(weight: torch.Tensor, needs: bool) -> Callable[[], None]:
    def undo() -> None:
        weight.requires_grad_(needs)

    return undo


def _state_setter(generator: torch.Generator, state: torch.Tensor) -> Callable[[], None]:
    def undo() -> None:
        generator.set_state(state)

    return undo


def _cell_setter(cell: Any, value: Any) -> Callable[[], None]:
    def undo() -> None:
        if cell.cell_contents is not value:
            cell.cell_contents = value

    return undo


def _item_setter(place: dict[str, Any], name: str, value: Any) -> Callable[[], None]:
    def undo() -> None:
        if place.get(name) is not value:
            place[name] = value

    return undo
