"""A reward model: a base with an adapter and a linear head, read at the answer's last token."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from custodes.conversation import Chat
from custodes.errors import ModelError
from custodes.models.chat import encode_chats, encode_texts
from custodes.models.resolve import load_torch, parse
from custodes.runs.files import write_atomic
from custodes.training.forward import base_precision, packable, visible
from custodes.training.lora import LoraModel, LoraOptions
from custodes.training.packing import Sequences, pack, parts

if TYPE_CHECKING:
    import torch

    from custodes.models.torch import TorchModel

__all__ = ["RewardModel", "load_reward", "start_reward"]

_POSITIONS = 1_536

Load = Callable[[str], "TorchModel"]


class RewardModel:
    """Scores answers; a `Reward` function for reinforcement learning.

    Attributes:
        lora: The base, cut to its first layers, with the adapter.
        base: Name of the base model.
        layers: Blocks of the base that are used.
        max_length: Longest prompt and answer together, in tokens.
        head: Weights of the linear head, (d,), float32.
        mean: Logit of the average answer: it scores 0.5.
        scale: Logits are divided by it, so that differences are log-odds.
    """

    def __init__(
        self, lora: LoraModel, base: str, layers: int, max_length: int, head: torch.Tensor
    ) -> None:
        self.lora, self.base, self.layers, self.max_length = lora, base, layers, max_length
        self.head = head
        self.mean, self.scale = 0.0, 1.0

    def score(self, chats: Sequence[Chat], responses: Sequence[str]) -> NDArray[np.float64]:
        """Score ``responses[i]`` as the answer to ``chats[i]``: (n,), in [0, 1].

        0.5 is the average answer of the held-out pairs.
        """
        return 1 / (1 + np.exp(-self.logits(chats, responses)))

    def logits(self, chats: Sequence[Chat], responses: Sequence[str]) -> NDArray[np.float64]:
        """Return the scores before the sigmoid, (n,); the difference of two is a log-odds."""
        return (self.raw(self.encode(chats, responses)) - self.mean) / self.scale

    def __call__(self, chats: Sequence[Chat], responses: Sequence[str]) -> list[float]:
        """Score answers, as reward functions do."""
        scores: list[float] = self.score(chats, responses).tolist()
        return scores

    def encode(self, chats: Sequence[Chat], responses: Sequence[str]) -> Sequences:
        """Encode prompts and answers; an answer ends with the end of its turn, where it is read.

        What is too long loses the prompt's beginning, and of an answer longer than half of
        ``max_length`` its end.
        """
        tokenizer = self.lora.tokenizer
        prompts, answers = [], []
        for prompt, answer in zip(
            encode_chats(tokenizer, chats), encode_texts(tokenizer, responses), strict=True
        ):
            room = max(self.max_length - 1 - len(prompt), self.max_length // 2)
            answers.append((*answer[:room], tokenizer.eos_token_id))
            prompts.append(tuple(prompt[-max(self.max_length - len(answers[-1]), 1) :]))
        return Sequences(prompts, answers)

    def raw(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return what the head gives, before mean and scale, (n,)."""
        import torch

        out = np.zeros(len(sequences))
        if not len(sequences):
            return out
        with torch.no_grad(), self.computing():
            for part in parts(sequences, _POSITIONS):
                out[part] = self.forward(sequences.at(part)).double().cpu().numpy()
        return out

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Prepare the model for `forward`, and put it back."""
        base = self.lora.model.get_base_model()
        training, attention = self.lora.model.training, base.config._attn_implementation
        self.lora.model.eval()
        base.set_attn_implementation("eager")
        try:
            yield
        finally:
            base.set_attn_implementation(attention)
            self.lora.model.train(training)

    def forward(self, sequences: Sequences) -> torch.Tensor:
        """Return what the head gives with a gradient, (n,); see `computing`."""
        import torch

        states = self.states(sequences)
        with torch.autocast(states.device.type, enabled=False):
            return states.float() @ self.head

    def states(self, sequences: Sequences) -> torch.Tensor:
        """Return the hidden states at the answers' last tokens, (n, d)."""
        import torch

        base = self.lora.model.get_base_model()
        # `pack` gives the places that predict each token. One token more, and the last of them is
        # the answer's own last token.
        longer = Sequences(sequences.prompts, [(*ids, ids[-1]) for ids in sequences.completions])
        packed = pack(longer, base.device)
        ends = np.cumsum([len(ids) for ids in longer.completions]) - 1
        last = torch.from_numpy(ends).to(base.device)
        with base_precision(base):
            states: torch.Tensor = base.get_decoder()(
                input_ids=packed.ids,
                attention_mask=visible(packed.segments, base.dtype),
                position_ids=packed.positions,
                use_cache=False,
            ).last_hidden_state
        return states[packed.rows[last], packed.columns[last]]

    def save(self, folder: Path) -> None:
        """Write the adapter (PEFT) and the head (safetensors)."""
        import torch
        from safetensors.torch import save

        self.lora.save(folder / "adapter")
        figures = {"base": self.base, "layers": self.layers, "max_length": self.max_length}
        tensors = {
            "weight": self.head.detach().float().cpu().contiguous(),
            "mean": torch.tensor(self.mean, dtype=torch.float64),
            "scale": torch.tensor(self.scale, dtype=torch.float64),
        }
        write_atomic(folder / "head.safetensors", save(tensors, {"model": json.dumps(figures)}))


def load_reward(folder: Path) -> RewardModel:
    """Load a reward model that `fit_reward` wrote.

    Raises:
        ModelError: There is none, or its base is not here.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / "head.safetensors"
    if not path.is_file():
        raise ModelError(f"there is no reward model in {folder}", "fit one with fit_reward")
    try:
        with safe_open(str(path), "pt") as file:
            figures = json.loads(file.metadata()["model"])
            head, mean, scale = (file.get_tensor(name) for name in ("weight", "mean", "scale"))
        base, layers, length = figures["base"], figures["layers"], figures["max_length"]
    except (SafetensorError, KeyError, ValueError, TypeError):
        raise ModelError(f"{path} is damaged", "fit the reward model again") from None
    lora = LoraModel(_cut(load_torch(base), layers), folder / "adapter", LoraOptions(), 0)
    model = RewardModel(lora, base, layers, length, head.to(lora.model.device))
    model.mean, model.scale = float(mean), float(scale)
    return model


def start_reward(
    base: str, *, layers: int, max_length: int, lora: LoraOptions, seed: int
) -> RewardModel:
    """Return a reward model that has learnt nothing yet.

    The head starts as N(0, 1 / (d + 1)), as Ziegler et al. 2019 have it.

    Args:
        base: Name of the base; an adapter's folder starts from that adapter.
        layers: Blocks to use, 0 for all.
        max_length: Longest prompt and answer, in tokens.
        lora: Shape of a new adapter.
        seed: Initialises adapter and head.

    Raises:
        ModelError: The base has layers that cannot be cut or packed.
    """
    import torch

    ref = parse(base)
    adapter, name = None, base
    if ref.kind == "adapter" and ref.base is not None:
        adapter, name = ref.path, ref.base.name
    model = _cut(load_torch(name), layers)
    if not packable(model.model):
        raise ModelError(f"{name} has layers that a reward model cannot read", "choose another")
    adapted = LoraModel(model, adapter, lora, seed)
    width = model.model.config.hidden_size
    draws = torch.Generator().manual_seed(seed)
    head = torch.randn(width, generator=draws) / (width + 1) ** 0.5
    used = layers or model.model.config.num_hidden_layers
    return RewardModel(adapted, name, used, max_length, head.to(model.model.device))


def _cut(model: TorchModel, layers: int) -> TorchModel:
    """Drop all blocks of a model above the first ``layers``; its final norm stays."""
    depth = model.model.config.num_hidden_layers
    if not 0 <= layers <= depth:
        raise ModelError(f"{model.name} has {depth} layers, not {layers}", f"give 0 to {depth}")
    if layers and layers < depth:
        decoder: Any = model.model.get_decoder()
        decoder.layers = decoder.layers[:layers]
        model.model.config.num_hidden_layers = layers
    return model
