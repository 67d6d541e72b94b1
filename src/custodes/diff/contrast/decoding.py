"""Contrastive decoding: text that one model would write and the other would not.

Li et al., "Contrastive Decoding" (ACL 2023), with two models in the places of expert and
amateur. Two adapters of one base (or an adapter and the base itself) are computed in a single
pass, as two halves of one batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from custodes.conversation import Chat
from custodes.errors import ConfigError, ModelError
from custodes.models.adapters import mixed_adapters
from custodes.models.base import Array
from custodes.models.chat import decode, encode_chats
from custodes.models.decode import left_padded

if TYPE_CHECKING:
    import torch

    from custodes.models.torch import TorchModel

__all__ = ["Contrast", "Divergence", "contrast", "divergent_tokens"]

BASE = "__base__"  # peft's name for "no adapter" in a batch of several


@dataclass(frozen=True)
class Contrast:
    """A text that B would write and A would not.

    Attributes:
        text: Untrusted.
        ids: Its token ids.
        tokens: Its tokens, as text; a token that ends inside a character shows as "\\ufffd".
        gaps: log p_B − log p_A of each token, in nats, shape (len(tokens),).
    """

    text: str
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    gaps: Array


@dataclass(frozen=True)
class Divergence:
    """A token on which two models diverge.

    Attributes:
        chat: Index of the chat.
        before: The answer up to the token; untrusted.
        token: The token as text; untrusted.
        gap: log p_B − log p_A, in nats.
    """

    chat: int
    before: str
    token: str
    gap: float


def contrast(
    a: TorchModel,
    b: TorchModel,
    chats: Sequence[Chat],
    *,
    chats_a: Sequence[Chat] | None = None,
    strength: float = 1.0,
    cut: float = 0.1,
    max_tokens: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[Contrast]:
    """Decode what B would write and A would not. Swap the models for the reverse.

    Args:
        a: The model to differ from.
        b: The model to write as; it has the same tokenizer.
        chats: Prompts of B, in one batch.
        chats_a: Prompts of A, such as the same under another system prompt; B's by default.
        strength: α, at least 0; 0 is B's own text.
        cut: Only tokens at least this fraction as probable as B's favourite, in (0, 1]; at 1
            B's favourite is the only choice.
        max_tokens: Longest text.
        temperature: Of sampling from the contrast; 0 takes its largest.
        seed: Draws the tokens.

    Raises:
        ConfigError: A number is out of range.
        ModelError: The models have different vocabularies.
    """
    import torch

    if strength < 0 or not 0 < cut <= 1 or temperature < 0 or max_tokens < 1:
        raise ConfigError(
            f"strength {strength}, cut {cut}, temperature {temperature}, max_tokens {max_tokens}",
            "strength and temperature are at least 0, cut is in (0, 1], max_tokens at least 1",
        )
    if not chats:
        return []
    ends = _ends(b)
    generator = torch.Generator().manual_seed(seed)
    tokens: list[list[int]] = [[] for _ in chats]
    gaps: list[list[float]] = [[] for _ in chats]
    going = np.ones(len(chats), bool)
    with _together(a, b) as step, torch.no_grad():
        prompts_a, prompts_b = (encode_chats(b.tokenizer, c) for c in (chats_a or chats, chats))
        log_a, log_b = step(prompts_a, prompts_b)
        for _ in range(max_tokens):
            # 1. The plausibility cut: V_head = {x : p_B(x) >= cut * max p_B} (their eq. 2).
            plausible = log_b >= log_b.max(dim=-1, keepdim=True).values + np.log(cut)
            # 2. The contrast, log p_B + α (log p_B − log p_A); impossible outside the cut.
            score = log_b + strength * (log_b - log_a)
            score = score.masked_fill(~plausible, -torch.inf)
            # 3. Its largest, or a sample.
            if temperature:
                probabilities = torch.softmax(score / temperature, dim=-1).cpu()
                token = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
            else:
                token = score.argmax(dim=-1).cpu()
            gap = (log_b - log_a).cpu().gather(1, token[:, None])[:, 0]
            for i in np.flatnonzero(going):
                if int(token[i]) in ends:
                    going[i] = False
                    continue
                tokens[i].append(int(token[i]))
                gaps[i].append(float(gap[i]))
            if not going.any():
                break
            log_a, log_b = step(token, token)
    return [
        Contrast(
            text=decode(b.tokenizer, [row])[0],
            ids=tuple(row),
            tokens=tuple(decode(b.tokenizer, [[t] for t in row])),
            gaps=np.array(gap, np.float32),
        )
        for row, gap in zip(tokens, gaps, strict=True)
    ]


def divergent_tokens(
    a: TorchModel,
    b: TorchModel,
    chats: Sequence[Chat],
    answers: Sequence[str],
    most: int = 20,
    *,
    chats_a: Sequence[Chat] | None = None,
) -> list[Divergence]:
    """Find the tokens of some answers on which two models diverge most, in their context.

    Args:
        a: One model.
        b: The other.
        chats: Prompts of B.
        answers: One for each chat.
        most: Number of tokens to return.
        chats_a: Prompts of A; B's by default.

    Returns:
        At most ``most`` tokens by falling |log p_B − log p_A|.
    """
    scored = list(
        zip(a.logprobs(chats_a or chats, answers), b.logprobs(chats, answers), strict=True)
    )
    rows = [
        Divergence(i, "".join(one.tokens[:k]), one.tokens[k], float(two.logprobs[k] - value))
        for i, (one, two) in enumerate(scored)
        for k, value in enumerate(one.logprobs)
    ]
    return sorted(rows, key=lambda row: (-abs(row.gap), row.chat, len(row.before)))[:most]


def _ends(model: TorchModel) -> set[int]:
    configured = model.model.generation_config.eos_token_id
    ends = {configured} if isinstance(configured, int) else set(configured or ())
    return ends | ({model.tokenizer.eos_token_id} - {None})


@contextmanager
def _together(a: TorchModel, b: TorchModel) -> Iterator[Any]:
    """Give a function that feeds A and B each its tokens and returns both distributions."""
    import torch

    if (
        a.model.config.vocab_size != b.model.config.vocab_size
        or a.tokenizer.get_vocab() != b.tokenizer.get_vocab()
    ):
        raise ModelError(
            f"{a.name} and {b.name} have different vocabularies",
            "contrast models that share a tokenizer",
        )
    if a.model is b.model:
        names = [BASE if m.adapter is None else m.version for m in (a, b)]
        halves = _Stepper(a.model)

        def both(for_a: Any, for_b: Any) -> Any:
            joined = torch.cat([for_a, for_b]) if torch.is_tensor(for_a) else [*for_a, *for_b]
            return halves.step(joined).chunk(2)

        with mixed_adapters(a.model, names):
            yield both
        return
    one, two = _Stepper(a.model), _Stepper(b.model)
    with _own_adapter(a), _own_adapter(b):
        yield lambda for_a, for_b: (one.step(for_a), two.step(for_b))


class _Stepper:
    """Feeds a model a batch, token by token; keeps the cache."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._cache: Any = None
        self._mask: torch.Tensor
        self._position: torch.Tensor

    def step(self, tokens: Sequence[Sequence[int]] | torch.Tensor) -> torch.Tensor:
        """Feed prompts, then one token for each; return log-probabilities, (rows, vocabulary)."""
        import torch

        if self._cache is None:
            ids, mask = left_padded(list(tokens), self._model.device)
            self._mask, position = mask, (mask.cumsum(-1) - 1).clamp(min=0)
        else:
            assert isinstance(tokens, torch.Tensor)
            ids = tokens.to(self._model.device)[:, None]
            self._mask = torch.cat([self._mask, self._mask.new_ones((len(ids), 1))], dim=-1)
            position = self._position + 1
        out = self._model(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=position,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache, self._position = out.past_key_values, position[:, -1:]
        return torch.log_softmax(out.logits[:, -1].float(), dim=-1)


@contextmanager
def _own_adapter(model: TorchModel) -> Iterator[None]:
    with mixed_adapters(model.model, [BASE if model.adapter is None else model.version]):
        yield
