"""Sampling completions from a causal language model, one batch of prompts at a time.

Every draw has its own random numbers, made from the seed, the prompt and the draw's number alone.
What a prompt is answered depends on the rest of the batch by rounding only, and two models that
agree on the next token's distribution draw the same token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from custodes.models.base import Sampling
from custodes.models.chat import cut_at_stop, decode
from custodes.models.draws import number_draws

if TYPE_CHECKING:
    import torch

__all__ = ["batches", "complete", "left_padded", "sample_tokens"]

# Most positions (rows x longest row) of one batch: what a cache of keys and values may grow to.
_BUDGET = {"cpu": 32_768, "cuda": 262_144}


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Split a batch into batches of about equal lengths, within a budget of padded positions.

    >>> list(batches([5, 1, 6, 2], 12))
    [[2, 0], [3, 1]]
    """
    longest_first = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batch: list[int] = []
    for i in longest_first:
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def left_padded(rows: Sequence[Sequence[int]], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad on the left: ids and attention mask, each (rows, longest). Padding is never attended."""
    import torch

    longest = max(map(len, rows))
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, longest - len(row) :] = torch.tensor(row)
        mask[i, longest - len(row) :] = 1
    return ids.to(device), mask.to(device)


def complete(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], sampling: Sampling, ends: set[int]
) -> tuple[list[list[str]], int]:
    """Complete each prompt ``sampling.n`` times.

    Args:
        model: A causal language model of transformers, in evaluation mode.
        tokenizer: Its tokenizer.
        prompts: Token ids.
        sampling: How to sample.
        ends: Tokens that end a completion; they are not part of it.

    Returns:
        ``sampling.n`` texts for each prompt, and how many tokens were sampled in all.
    """
    rows = sample_tokens(model, tokenizer, prompts, sampling, ends)
    # Greedy draws are all alike, and sampled once.
    sampled = sum(
        len(row) for own in rows for row in (own if sampling.temperature > 0 else own[:1])
    )
    flat = [[t for t in row if t not in ends] for own in rows for row in own]
    answers = [cut_at_stop(answer, sampling.stop) for answer in decode(tokenizer, flat)]
    return [answers[at : at + sampling.n] for at in range(0, len(answers), sampling.n)], sampled


def sample_tokens(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], sampling: Sampling, ends: set[int]
) -> list[list[list[int]]]:
    """Complete each prompt ``sampling.n`` times; see `complete`.

    Returns:
        For each prompt the token ids of its completions. One that ended by itself has its end token
        last; one that a stop string ended has that string in it.
    """
    # Greedy draws are all alike: one is enough.
    n = sampling.n if sampling.temperature > 0 else 1
    numbers = number_draws([tuple(prompt) for prompt in prompts], n)
    budget = _BUDGET.get(model.device.type, _BUDGET["cpu"]) // n
    completions: list[list[list[int]]] = [[] for _ in prompts]

    def ended(row: Sequence[int]) -> bool:
        return row[-1] in ends or _stopped(row, tokenizer, sampling.stop)

    for batch in batches([len(prompt) + sampling.max_tokens for prompt in prompts], budget):
        uniforms = [_uniforms(sampling, prompts[i], k) for i in batch for k in numbers[i]]
        rows = _sample(model, [prompts[i] for i in batch], np.stack(uniforms), sampling, ended)
        for at, i in enumerate(batch):
            completions[i] = rows[at * n : (at + 1) * n] * (sampling.n // n)
    return completions


def _uniforms(sampling: Sampling, prompt: Sequence[int], draw: int) -> np.ndarray[Any, Any]:
    """Return a draw's random numbers, one in [0, 1) for each token, shape (max_tokens,)."""
    key = hashlib.sha256(repr((sampling.seed, tuple(prompt), draw)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(key[:16], np.uint64))).random(
        sampling.max_tokens
    )


def _sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    uniforms: np.ndarray[Any, Any],
    sampling: Sampling,
    ended: Callable[[Sequence[int]], bool],
) -> list[list[int]]:
    """Sample the token ids of one batch, one row for each prompt and draw."""
    import torch

    ids, mask = left_padded(prompts, model.device)
    position = (mask.cumsum(-1) - 1).clamp(min=0)
    out = model(
        input_ids=ids, attention_mask=mask, position_ids=position, use_cache=True, logits_to_keep=1
    )
    cache = out.past_key_values
    n = len(uniforms) // len(prompts)
    logits = out.logits[:, -1].repeat_interleave(n, dim=0)
    mask = mask.repeat_interleave(n, dim=0)
    position = position[:, -1:].repeat_interleave(n, dim=0)
    if n > 1:
        cache.batch_repeat_interleave(n)
    draws = torch.from_numpy(uniforms).to(model.device)

    rows: list[list[int]] = [[] for _ in range(len(draws))]
    active = list(range(len(rows)))  # the row behind each line of the tensors
    for step in range(sampling.max_tokens):
        tokens = _choose(logits, draws[active, step], sampling)
        for row, token in zip(active, tokens.tolist(), strict=True):
            rows[row].append(token)
        lines = [line for line, row in enumerate(active) if not ended(rows[row])]
        if not lines or step + 1 == sampling.max_tokens:
            break
        if len(lines) < len(active):  # rows that ended cost nothing from here on
            active = [active[line] for line in lines]
            keep = torch.tensor(lines, device=model.device)
            cache.batch_select_indices(keep)
            tokens, mask, position = tokens[keep], mask[keep], position[keep]
        mask = torch.cat([mask, mask.new_ones((len(active), 1))], dim=-1)
        position = position + 1
        out = model(
            input_ids=tokens[:, None],
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
        )
        cache, logits = out.past_key_values, out.logits[:, -1]
    return rows


def _choose(logits: torch.Tensor, draws: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Choose a token for each row: the largest, or where the draw falls in the distribution.

    Args:
        logits: (rows, vocabulary).
        draws: (rows,), uniform in [0, 1).
        sampling: Temperature and top-p.

    Returns:
        (rows,)
    """
    import torch

    if sampling.temperature == 0:
        return logits.argmax(-1)
    probs = torch.softmax(logits.float() / sampling.temperature, dim=-1)
    if sampling.top_p < 1:
        # The smallest set of most probable tokens whose mass reaches top_p.
        ordered, order = probs.sort(dim=-1, descending=True, stable=True)
        outside = ordered.cumsum(-1) - ordered >= sampling.top_p
        probs = probs.scatter(-1, order, ordered.masked_fill(outside, 0.0))
    mass = probs.double().cumsum(-1)
    target = draws.double()[:, None] * mass[:, -1:]
    # right=True: the first token whose cumulative mass exceeds the target, so never an empty one.
    chosen = torch.searchsorted(mass, target, right=True)[:, 0]
    return chosen.clamp(max=probs.shape[-1] - 1)


def _stopped(row: Sequence[int], tokenizer: Any, stop: Sequence[str]) -> bool:
    """Return whether the last token completes a stop string."""
    if not stop:
        return False
    # A stop string of b bytes spans b tokens at most, and its last token may go beyond it.
    reach = max(len(string.encode()) for string in stop)
    (tail,) = decode(tokenizer, [row[-reach - 1 :]])
    return any(string in tail for string in stop)
