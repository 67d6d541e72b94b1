"""The log-probabilities of completions, computed for training on a CPU.

trl's trainers ask a model for log-probabilities as ``model(…, labels=…, fused_lm_head=True)``, and
put a forward pass of their own behind that, made for GPUs. `completion_forward` puts this one there
during a training. The results are the same up to rounding.

1. Pairs share their prompt: [prompt, chosen, rejected] is one row, in which the rejected answer
   sees the prompt and itself, at the positions it would have by itself (Wang and Hegde 2024,
   arXiv:2410.20305). A prompt is computed once and not twice.
2. Adapters compute in the base's precision (autocast): they are stored, and updated, in float32.
3. Attention is written out: torch's fused kernel for bf16 has a slow backward pass on CPUs.
4. Only the positions that predict a completion's tokens go through the output head.
5. The head's gradient is taken in the forward pass while the logits are at hand, since
   ∂ log p(t) / ∂h = W_t − Σ_v p(v) W_v: no logits are kept, and none are computed twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["base_precision", "completion_forward", "packable", "supports", "visible"]

_IGNORED = -100
_ROWS_AT_ONCE = 128
"""Positions whose logits are in memory together: 128 × 49,152 float32 are 25 MB."""

# What a config says of a head that does more than multiply, and of layers that do not attend.
_HEAD_SETTINGS = (
    "final_logit_softcapping",
    "logit_scale",
    "logits_scaling",
    "lm_head_multiplier",
    "output_multiplier",
)
_LAYERS = {"full_attention", "sliding_attention"}


def supports(model: Any) -> bool:
    """Whether `completion_forward` computes what a model's own forward pass does, and as fast."""
    return model.device.type == "cpu" and packable(model)


def packable(model: Any) -> bool:
    """Whether several answers to a prompt can be one row, with only their tokens' logits computed.

    The head must be one matrix, and the layers must attend: what a recurrent layer carries along
    would go from one answer into the next.
    """
    config = model.config.get_text_config()
    head = model.get_output_embeddings()
    return (
        getattr(head, "bias", None) is None
        and all(getattr(config, name, None) in (None, 1.0) for name in _HEAD_SETTINGS)
        and set(getattr(config, "layer_types", None) or _LAYERS) <= _LAYERS
    )


@contextmanager
def completion_forward(model: Any, *, pairs: bool) -> Iterator[None]:
    """Give a model the forward pass above, and put back what it had.

    Args:
        model: A causal language model of transformers with adapters injected (the base model of a
            peft model) that `supports` approves of. What trl has put on it is gone afterwards.
        pairs: Batches are chosen rows followed by their rejected ones, with the same prompts. A
            call with ``share_prompts=False`` computes each row by itself all the same.
    """
    attention = model.config._attn_implementation
    # An attribute of the instance, hiding the method of its class.
    model.__dict__.pop("forward", None)
    plain = model.forward

    def forward(
        *args: Any, fused_lm_head: bool = False, share_prompts: bool = pairs, **kwargs: Any
    ) -> Any:
        if not fused_lm_head:
            return plain(*args, **kwargs)
        ids, mask, labels = (kwargs[name] for name in ("input_ids", "attention_mask", "labels"))
        return _log_probs(model, ids, mask, labels, share_prompts)

    try:
        model.set_attn_implementation("eager")
        model.forward = forward
        yield
    finally:
        del model.forward
        model.set_attn_implementation(attention)


def _log_probs(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor, share_prompts: bool
) -> SimpleNamespace:
    """Return what trl reads off its own forward pass.

    Args:
        model: The model.
        ids: (rows, longest), padded on the right.
        mask: The same shape, 0 at padding.
        labels: The same shape, -100 where there is no completion.
        share_prompts: Whether rows i and i + rows / 2 are a pair with one prompt.

    Returns:
        ``log_probs`` (rows, longest - 1): of the next token at each position, 0 where it is no
        completion's; ``label_mask``: where it is; ``loss``. What trl only logs is zeros.
    """
    import torch

    wanted = labels[:, 1:] != _IGNORED
    targets = labels[:, 1:][wanted]
    with base_precision(model):
        if share_prompts:
            shared = _share_prompts(ids, labels)
            states = model.get_decoder()(
                input_ids=shared.ids,
                attention_mask=visible(shared.segments, model.dtype),
                position_ids=shared.positions,
                use_cache=False,
            ).last_hidden_state
            picked = states[shared.rows, shared.columns]
        else:
            states = model.get_decoder()(
                input_ids=ids, attention_mask=mask, use_cache=False
            ).last_hidden_state
            picked = states[:, :-1][wanted]
        scored = _head(model)(picked, targets)
    log_probs = scored.new_zeros(wanted.shape).masked_scatter(wanted, scored)
    unknown = torch.zeros_like(log_probs, requires_grad=False)
    return SimpleNamespace(
        loss=-scored.mean(),
        log_probs=log_probs,
        label_mask=wanted,
        entropy=unknown,
        mean_logits=unknown,
        is_top1=torch.zeros_like(wanted),
        aux_loss=None,
    )


@contextmanager
def base_precision(model: Any) -> Iterator[None]:
    """Let float32 adapters compute in the base's half precision, if it has one."""
    import torch
    from peft.helpers import disable_input_dtype_casting

    with ExitStack() as stack:
        if model.dtype in (torch.bfloat16, torch.float16):
            stack.enter_context(torch.autocast(model.device.type, model.dtype))
            stack.enter_context(disable_input_dtype_casting(model))
        yield


# Prompts in common


@dataclass(frozen=True)
class _Shared:
    """Pairs as rows [prompt, chosen, rejected], padded on the right.

    Attributes:
        ids, positions: (pairs, longest).
        segments: (pairs, longest): 0 in the prompt, 1 in the chosen answer, 2 in the rejected one,
            3 at padding.
        rows, columns: (completion tokens,): where each is predicted, the chosen answers' first.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    segments: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor


def _share_prompts(ids: torch.Tensor, labels: torch.Tensor) -> _Shared:
    import torch

    n = len(ids) // 2
    prompts = (labels == _IGNORED).long().cumprod(dim=1).sum(dim=1)[:n].tolist()
    answers = [(labels[row] != _IGNORED).sum().item() for row in range(2 * n)]
    texts: list[torch.Tensor] = []
    positions: list[torch.Tensor] = []
    segments: list[torch.Tensor] = []
    sites: list[list[tuple[int, int]]] = [[], []]
    for i, prompt in enumerate(prompts):
        lengths = [prompt, int(answers[i]), int(answers[i + n])]
        ends = [prompt, prompt + lengths[1], prompt + lengths[2]]
        texts.append(torch.cat([ids[i, : ends[1]], ids[i + n, prompt : ends[2]]]))
        positions.append(torch.cat([torch.arange(ends[1]), torch.arange(prompt, ends[2])]))
        segments.append(torch.repeat_interleave(torch.arange(3), torch.tensor(lengths)))
        sites[0] += [(i, prompt - 1 + k) for k in range(lengths[1])]
        # The rejected answer's first token is predicted by the prompt's last, as the chosen one's.
        sites[1] += [(i, prompt - 1 if k == 0 else ends[1] + k - 1) for k in range(lengths[2])]
    rows, columns = torch.tensor([*sites[0], *sites[1]]).T
    return _Shared(_padded(texts, 0), _padded(positions, 0), _padded(segments, 3), rows, columns)


def _padded(parts: Sequence[torch.Tensor], fill: int) -> torch.Tensor:
    import torch

    return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True, padding_value=fill)


def visible(segments: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the additive attention mask, (rows, 1, longest, longest): no later token, and of the
    earlier ones those of the prompt (segment 0) and of one's own segment.
    """
    import torch

    query, key = segments[:, :, None], segments[:, None, :]
    place = torch.arange(segments.shape[1], device=segments.device)
    visible = (place[:, None] >= place) & ((query == key) | (key == 0))
    return torch.where(visible, 0.0, torch.finfo(dtype).min).to(dtype)[:, None]


# The head


def _head(model: Any) -> Any:
    """Return a function from states (n, d) and targets (n,) to log-probabilities (n,)."""
    import torch

    weight = model.get_output_embeddings().weight

    class Head(torch.autograd.Function):
        """log p(target | state), with its gradient in the state."""

        @staticmethod
        def forward(ctx: Any, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            needed = ctx.needs_input_grad[0]
            scores = torch.empty(len(states), dtype=torch.float32, device=states.device)
            slopes = torch.empty_like(states) if needed else None
            for first in range(0, len(states), _ROWS_AT_ONCE):
                at = slice(first, first + _ROWS_AT_ONCE)
                logits = torch.nn.functional.linear(states[at], weight).float()
                norm = logits.logsumexp(dim=-1)
                scores[at] = logits.gather(1, targets[at, None])[:, 0] - norm
                if slopes is not None:
                    probs = logits.sub_(norm[:, None]).exp_().to(weight.dtype)
                    slopes[at] = weight[targets[at]] - probs @ weight
            if slopes is not None:
                ctx.save_for_backward(slopes)
            return scores

        @staticmethod
        def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, None]:
            (slopes,) = ctx.saved_tensors
            return slopes * upstream[0][:, None].to(slopes.dtype), None

    return Head.apply
