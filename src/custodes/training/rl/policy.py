"""The policy: a model with an adapter, a value head on it, and the reference it started from.

One base serves all three. The reference is the adapter as it was at first, whose weights are
swapped in; the value head reads the policy's last hidden state (Ziegler et al. 2019 do so, too).

Completions of one prompt are one row [prompt, completion 1, completion 2 …], in which each
completion sees the prompt and itself: a prompt is computed once for all its completions. Only the
positions that predict a completion's token go through the output head.

Shapes: N completions, T the longest in tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from custodes.errors import ModelError
from custodes.training.forward import base_precision, packable, visible
from custodes.training.packing import Sequences, pack, parts

if TYPE_CHECKING:
    import torch

    from custodes.training.lora import LoraModel

__all__ = ["Policy", "Scores"]

_ROWS_AT_ONCE = 128
"""Positions whose logits are in memory together: 128 × 49,152 float32 are 25 MB."""


@dataclass(frozen=True)
class Scores:
    """What a model says of each token of the completions; 0 at padding, (N, T) each.

    Attributes:
        logprobs: Log-probability of the token, at the sampling temperature.
        entropy: Entropy of the distribution that it was drawn from, in nats.
        variance: Variance of the log-probability under that distribution.
        values: Output of the value head before the token.
    """

    logprobs: torch.Tensor
    entropy: torch.Tensor
    variance: torch.Tensor
    values: torch.Tensor


class Policy:
    """An adapter in training, with its reference and a value head.

    Attributes:
        lora: The model; its adapter is trained in place.
        value: Weight (d,) and bias (1,) of the value head, float32; zero at first.
        reference: The adapter's matrices as they were.
    """

    def __init__(self, lora: LoraModel, temperature: float) -> None:
        import torch

        base = lora.model.get_base_model()
        if not packable(base):
            raise ModelError(
                f"{lora.base.name} has layers or an output head that PPO does not know",
                "use grpo or rloo for it",
            )
        self.lora, self.temperature = lora, temperature
        self._base, self._device = base, base.device
        width = base.get_output_embeddings().weight.shape[1]
        self.value = [
            torch.zeros(width, device=self._device, requires_grad=True),
            torch.zeros(1, device=self._device, requires_grad=True),
        ]
        self.reference = [w.detach().clone() for w in self.adapter]

    @property
    def adapter(self) -> list[Any]:
        """The adapter's matrices, A and B of each module in turn."""
        return [w for _, a, b, _ in self.lora.matrices() for w in (a, b)]

    @property
    def trainable(self) -> list[Any]:
        """All that an optimizer changes."""
        return [*self.adapter, *self.value]

    @contextmanager
    def as_reference(self) -> Iterator[None]:
        """Compute with the reference's adapter, or without one where it changes nothing."""
        if not any(bool(b.any()) for b in self.reference[1::2]):
            with self.lora.model.disable_adapter():
                yield
            return
        weights = self.adapter
        kept = [w.data for w in weights]
        try:
            for weight, old in zip(weights, self.reference, strict=True):
                weight.data = old
            yield
        finally:
            for weight, own in zip(weights, kept, strict=True):
                weight.data = own

    @contextmanager
    def merged(self) -> Iterator[None]:
        """Compute with the adapter merged into the weights, which is faster to sample with.

        The base's own weights are kept aside and put back, not subtracted: nothing is rounded.
        """
        import torch

        kept = []
        try:
            with torch.no_grad():
                for module, a, b, scale in self.lora.matrices():
                    own = module.weight.data
                    kept.append((module, own))
                    module.weight.data = (own.float() + scale * (b.float() @ a.float())).to(
                        own.dtype
                    )
            with self.lora.model.disable_adapter():
                yield
        finally:
            for module, own in kept:
                module.weight.data = own

    def score(self, sequences: Sequences, budget: int = 1_536) -> Scores:
        """Score completions without a gradient, in batches of at most ``budget`` positions."""
        import torch

        n, longest = len(sequences), max(map(len, sequences.completions))
        out = [torch.zeros(n, longest, device=self._device) for _ in range(4)]
        with torch.no_grad(), self._computing():
            for part in parts(sequences, budget):
                few = sequences.at(part)
                scores = self.forward(few)
                width = scores.logprobs.shape[1]
                rows = torch.tensor(part, device=self._device)
                for whole, piece in zip(
                    out,
                    (scores.logprobs, scores.entropy, scores.variance, scores.values),
                    strict=True,
                ):
                    whole[rows, :width] = piece
        return Scores(*out)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        model = self.lora.model
        training, attention = model.training, self._base.config._attn_implementation
        model.eval()  # No dropout, in the policy or in the reference.
        self._base.set_attn_implementation("eager")
        try:
            yield
        finally:
            self._base.set_attn_implementation(attention)
            model.train(training)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Prepare the model for `forward` with a gradient, and put it back."""
        with self._computing():
            yield

    def forward(self, sequences: Sequences) -> Scores:
        """Score completions with a gradient in log-probabilities and values; see `training`."""
        import torch

        packed = pack(sequences, self._device)
        with base_precision(self._base):
            states = self._base.get_decoder()(
                input_ids=packed.ids,
                attention_mask=visible(packed.segments, self._base.dtype),
                position_ids=packed.positions,
                use_cache=False,
            ).last_hidden_state[packed.rows, packed.columns]
            head = _head(self._base, self.temperature)
            logprobs, entropy, variance = head(states, packed.targets)
        with torch.autocast(self._device.type, enabled=False):
            values = states.float() @ self.value[0] + self.value[1]
        mask = sequences.mask(self._device)

        def spread(flat: torch.Tensor) -> torch.Tensor:
            return flat.new_zeros(mask.shape).masked_scatter(mask, flat)

        return Scores(spread(logprobs), spread(entropy), spread(variance), spread(values))


def _head(model: Any, temperature: float) -> Any:
    """Return a function from states (n, d) and targets (n,) to what `Scores` needs, (n,) each.

    The gradient of log p is taken while the logits are at hand, as in `training.forward`; with
    logits z / τ it is (W_t − Σ_v p(v) W_v) / τ. No logits are kept.
    """
    import torch

    weight = model.get_output_embeddings().weight

    class Head(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, states: torch.Tensor, targets: torch.Tensor) -> Any:
            needed = ctx.needs_input_grad[0]
            scores, entropy, variance = (
                torch.empty(len(states), dtype=torch.float32, device=states.device)
                for _ in range(3)
            )
            slopes = torch.empty_like(states) if needed else None
            for first in range(0, len(states), _ROWS_AT_ONCE):
                at = slice(first, first + _ROWS_AT_ONCE)
                nats = torch.nn.functional.linear(states[at], weight).float().div_(temperature)
                nats.sub_(nats.logsumexp(dim=-1, keepdim=True))
                scores[at] = nats.gather(1, targets[at, None])[:, 0]
                probs = nats.exp()
                mean = torch.einsum("nv,nv->n", probs, nats)
                entropy[at] = -mean
                if slopes is None:
                    square = torch.einsum("nv,nv->n", probs, nats.square_())
                    variance[at] = (square - mean.square()).clamp_(min=0)
                else:
                    # Nobody asks for the variance of what is trained on for the second time.
                    variance[at] = 0.0
                    expected = probs.to(weight.dtype) @ weight
                    slopes[at] = (weight[targets[at]] - expected) / temperature
            if slopes is not None:
                ctx.save_for_backward(slopes)
            ctx.mark_non_differentiable(entropy, variance)
            return scores, entropy, variance

        @staticmethod
        def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, None]:
            (slopes,) = ctx.saved_tensors
            return slopes * upstream[0][:, None].to(slopes.dtype), None

    return Head.apply
