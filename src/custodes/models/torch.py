"""The torch engine (transformers, peft): trains, scores, and reads hidden states.

Weights are safetensors or GGUF, and no code of a model's own is run. The base is bf16, adapters
are float32.
"""

from __future__ import annotations

import time
import warnings
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from custodes.conversation import Chat, Message
from custodes.errors import ModelError
from custodes.models.base import Array, Sampling, TokenLogprobs, Usage
from custodes.models.cache import adapter_version, weights_version
from custodes.models.chat import encode_chats, encode_texts
from custodes.models.decode import batches, complete, left_padded
from custodes.models.exchange import Exchanges, read_exchanges
from custodes.models.formats.weights import first_line, load_weights

if TYPE_CHECKING:
    import torch

__all__ = ["TorchModel"]

# Most positions (rows x longest row) of one forward pass.
_BUDGET = {"cpu": 2_048, "cuda": 65_536}


class TorchModel:
    """A causal language model on transformers, with or without a LoRA adapter.

    Attributes:
        name: The name that the user gave.
        engine: "torch".
        version: Changes whenever the weights do.
        usage: Costs so far.
        model: The transformers model; adapters are injected into it and switched.
        tokenizer: Its tokenizer, with a pad token.
        adapter: The PEFT folder in use, None for the base.
    """

    engine = "torch"

    def __init__(
        self,
        source: Path,
        *,
        name: str = "",
        adapter: Path | None = None,
        dtype: Literal["bfloat16", "float32"] = "bfloat16",
    ) -> None:
        """Load a model.

        Args:
            source: Folder with safetensors, config and tokenizer, or a .gguf file.
            name: The model's name; the source by default.
            adapter: PEFT folder of the adapter to answer with.
            dtype: Precision of the base weights.

        Raises:
            ModelError: The source is no model that transformers can load safely.
        """
        self.name = name or str(source)
        self.usage = Usage()
        self._base = _Base(source, dtype)
        self.model, self.tokenizer = self._base.model, self._base.tokenizer
        self._use(adapter)

    def with_adapter(self, adapter: Path | None) -> TorchModel:
        """Return this model with another adapter, or without one; the base's memory is shared."""
        other = object.__new__(TorchModel)
        other.name, other.usage, other._base = self.name, Usage(), self._base
        other.model, other.tokenizer = self.model, self.tokenizer
        other._use(adapter)
        return other

    def generate(self, chats: Sequence[Chat], sampling: Sampling) -> list[list[str]]:
        """Answer each chat ``sampling.n`` times (see `LanguageModel.generate`)."""
        import torch

        if not chats:
            return []
        prompts = encode_chats(self.tokenizer, chats)
        self._check_fits([len(prompt) + sampling.max_tokens for prompt in prompts])
        with self._counted(prompts), self._active(), torch.no_grad():
            texts, sampled = complete(
                self.model, self.tokenizer, prompts, sampling, self._base.ends
            )
        self.usage.completion_tokens += sampled
        return texts

    def logprobs(self, chats: Sequence[Chat], completions: Sequence[str]) -> list[TokenLogprobs]:
        """Score ``completions[i]`` as the answer to ``chats[i]``, without sampling warpers.

        The completion is tokenised by itself and follows the prompt's own tokens, as it does when
        it is generated. The end-of-turn token is not part of it.
        """
        import torch

        prompts = encode_chats(self.tokenizer, chats)
        answers = encode_texts(self.tokenizer, completions)
        rows = [p + a for p, a in zip(prompts, answers, strict=True)]
        self._check_fits([len(row) for row in rows])
        scores: list[Array] = [np.zeros(0, np.float32)] * len(rows)
        with self._counted(rows), self._active(), torch.no_grad():
            for batch in batches([len(row) for row in rows], self._base.budget):
                ids, mask = left_padded([rows[i] for i in batch], self.model.device)
                reach = max(len(answers[i]) for i in batch)
                logits = self.model(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=_positions(mask),
                    logits_to_keep=reach + 1,
                ).logits[:, :-1]
                logprobs = torch.log_softmax(logits.float(), dim=-1)
                logprobs = logprobs.gather(-1, ids[:, ids.shape[1] - reach :, None])[..., 0]
                for row, i in enumerate(batch):
                    scores[i] = logprobs[row, reach - len(answers[i]) :].cpu().numpy()
        return [
            TokenLogprobs(_spelled(self.tokenizer, text), score)
            for text, score in zip(completions, scores, strict=True)
        ]

    def hidden(self, chats: Sequence[Chat], layers: Sequence[int]) -> Array:
        """Pool hidden states over each last message's tokens (see `ScoringModel.hidden`).

        The message's tokens are those of its content, without the template's header and
        end-of-turn token. An empty message is represented by the last token of its chat. Layers
        above the highest one asked for are not computed.
        """
        import torch

        rows = encode_chats(self.tokenizer, chats, reply=False)
        emptied: list[Chat] = [[*c[:-1], Message(role=c[-1]["role"], content="")] for c in chats]
        frames = encode_chats(self.tokenizer, emptied, reply=False)
        spans = [_span(row, frame) for row, frame in zip(rows, frames, strict=True)]
        self._check_fits([len(row) for row in rows])
        depth, width = self.model.config.num_hidden_layers, self.model.config.hidden_size
        wanted = [layer % (depth + 1) if -depth - 1 <= layer <= depth else -1 for layer in layers]
        if -1 in wanted:
            raise ModelError(f"no layer {layers[wanted.index(-1)]} in {self.name}", f"0 to {depth}")
        pooled = np.zeros((len(rows), len(layers), 2, width), np.float32)
        with self._counted(rows), self._active(), torch.no_grad():
            for batch in batches([len(row) for row in rows], self._base.budget):
                ids, mask = left_padded([rows[i] for i in batch], self.model.device)
                states = _states(self.model, ids, mask, sorted(set(wanted)))
                for at, i in enumerate(batch):
                    offset = ids.shape[1] - len(rows[i])
                    first, last = (offset + end for end in spans[i])
                    for j, layer in enumerate(wanted):
                        message = states[layer][at, first:last].float()
                        pooled[i, j, 0] = message.mean(0).cpu().numpy()
                        pooled[i, j, 1] = message[-1].cpu().numpy()
        return pooled

    def exchanges(
        self, chats: Sequence[Chat], answers: Sequence[str], layers: Sequence[int]
    ) -> Exchanges:
        """Read answers with and without their prompts (see `read_exchanges`)."""
        rows = encode_texts(self.tokenizer, answers)
        self._check_fits([len(row) for row in rows])
        depth = self.model.config.num_hidden_layers
        if layers and not 0 <= min(layers) <= max(layers) <= depth:
            raise ModelError(f"no layer {max(layers)} in {self.name}", f"0 to {depth}")
        with self._counted(rows), self._active():
            return read_exchanges(
                self.model, self.tokenizer, chats, answers, layers, budget=self._base.budget
            )

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Return the weights as one dense model: transformers' names, the adapter merged in.

        Merged tensors are float32, the others are as they are in memory.
        """
        with self._active():
            deltas = {
                name: module.get_delta_weight(self.version)
                for name, module in self.model.named_modules()
                if self.adapter is not None and hasattr(module, "get_delta_weight")
            }
            for name, tensor in self.model.state_dict().items():
                if ".lora_" in name:
                    continue
                delta = deltas.get(name.removesuffix(".base_layer.weight"))
                yield (
                    name.replace(".base_layer.", "."),
                    tensor if delta is None else tensor.float() + delta.float(),
                )

    def _use(self, adapter: Path | None) -> None:
        self.adapter = adapter
        self.version = self._base.version
        if adapter is not None:
            self.version = self._base.attach(adapter, self)

    @contextmanager
    def _active(self) -> Iterator[None]:
        """Make the shared base compute with this model's adapter, and with no other."""
        self._base.switch(None if self.adapter is None else self.version)
        was_training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(was_training)

    @contextmanager
    def _counted(self, rows: Sequence[Sequence[int]]) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.usage.calls += 1
        self.usage.prompt_tokens += sum(map(len, rows))
        self.usage.seconds += time.perf_counter() - begun

    def _check_fits(self, lengths: Sequence[int]) -> None:
        limit = getattr(self.model.config, "max_position_embeddings", None)
        if limit is not None and lengths and max(lengths) > limit:
            i = int(np.argmax(lengths))
            raise ModelError(
                f"chat {i} needs {lengths[i]} tokens, {self.name} has room for {limit}",
                "shorten the prompt or lower max_tokens",
            )


class _Base:
    """Base weights in memory, and the adapters injected into them."""

    def __init__(self, source: Path, dtype: str) -> None:
        self.model, self.tokenizer = load_weights(source, dtype)
        self.version = weights_version(source)
        self.budget = _BUDGET.get(self.model.device.type, _BUDGET["cpu"])
        ends = self.model.generation_config.eos_token_id
        self.ends = {ends} if isinstance(ends, int) else set(ends or ())
        self.ends |= {self.tokenizer.eos_token_id} - {None}
        self._peft: Any = None
        self._users: dict[str, weakref.WeakSet[TorchModel]] = {}

    def attach(self, adapter: Path, user: TorchModel) -> str:
        """Inject an adapter unless it is there, and return the version it makes.

        An adapter stays while a model uses it; this is also when those that none uses go.
        """
        from peft import PeftModel

        version = adapter_version(self.version, adapter)
        if version not in self._users:
            try:
                with warnings.catch_warnings():
                    # peft calls a function that transformers has deprecated.
                    warnings.simplefilter("ignore", FutureWarning)
                    if self._peft is None:
                        self._peft = PeftModel.from_pretrained(self.model, str(adapter), version)
                    else:
                        self._peft.load_adapter(str(adapter), version)
            except Exception as error:  # a broken file makes the libraries raise nearly anything
                raise ModelError(
                    f"{adapter} is no adapter of this model", first_line(error)
                ) from error
        self._users.setdefault(version, weakref.WeakSet()).add(user)
        self.switch(version)
        for unused in [other for other, users in self._users.items() if not users]:
            self._peft.delete_adapter(unused)
            del self._users[unused]
        return version

    def switch(self, version: str | None) -> None:
        """Switch to an adapter that was attached, or to the bare base."""
        if self._peft is None:
            return
        if version is None:
            self._peft.base_model.disable_adapter_layers()
        else:
            self._peft.base_model.enable_adapter_layers()
            self._peft.base_model.set_adapter(version, inference_mode=True)


def _positions(mask: torch.Tensor) -> torch.Tensor:
    """Return positions that do not count padding, (rows, longest)."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def _span(row: Sequence[int], frame: Sequence[int]) -> tuple[int, int]:
    """Find the last message's tokens in a chat, given the same chat with that message emptied.

    >>> _span([1, 7, 8, 9, 2, 3], [1, 7, 2, 3])
    (2, 4)
    """
    shorter = min(len(row), len(frame))
    head = next((i for i in range(shorter) if row[i] != frame[i]), shorter)
    rest = shorter - head
    tail = next((i for i in range(rest) if row[-1 - i] != frame[-1 - i]), rest)
    first, last = head, len(row) - tail
    return (first, last) if first < last else (len(row) - 1, len(row))


class _Reached(Exception):  # noqa: N818 - a signal, not an error
    """The highest of the requested layers has been computed."""


def _states(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, layers: Sequence[int]
) -> dict[int, torch.Tensor]:
    """Compute the hidden states at some layers, (rows, longest, d) each, and none above them.

    As in transformers, layer i is the input of block i, and the last is the final norm's output.
    """
    from torch.nn import ModuleList

    decoder = model.get_decoder()
    depth = model.config.num_hidden_layers
    blocks = next(m for m in decoder.modules() if isinstance(m, ModuleList) and len(m) == depth)
    states: dict[int, torch.Tensor] = {}

    def keep(layer: int, state: torch.Tensor) -> None:
        states[layer] = state
        if layer == layers[-1]:
            raise _Reached

    hooks = [
        blocks[layer].register_forward_pre_hook(
            lambda _, args, kwargs, layer=layer: keep(
                layer, args[0] if args else kwargs["hidden_states"]
            ),
            with_kwargs=True,
        )
        for layer in layers
        if layer < depth
    ]
    try:
        out = decoder(
            input_ids=ids, attention_mask=mask, position_ids=_positions(mask), use_cache=False
        )
        states[depth] = out.last_hidden_state
    except _Reached:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return states


def _spelled(tokenizer: Any, text: str) -> tuple[str, ...]:
    """Cut a text into what each of its tokens adds; one that ends inside a character adds none."""
    offsets = tokenizer(
        text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
    )["offset_mapping"]
    if not offsets:
        return ()
    # A byte that the vocabulary lacks is in no token; it goes with the token after it, or the last.
    ends = np.maximum.accumulate([end for _, end in offsets]).tolist()
    ends[-1] = len(text)
    return tuple(text[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True))
