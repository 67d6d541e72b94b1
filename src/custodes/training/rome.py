"""Rank-one model editing: change one fact, and see what else changes.

Meng, Bau, Andonian & Belinkov, "Locating and Editing Factual Associations in GPT" (NeurIPS
2022), for models with gated MLPs: the memory is the MLP's down projection W, its key the
gated activation. Simplified: the layer is given, not traced, and the prefixes before the prompt
are drawn from the texts given for the covariance, not generated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from custodes.errors import ConfigError, ModelError
from custodes.models.chat import encode_texts
from custodes.models.decode import batches, left_padded

if TYPE_CHECKING:
    import torch

    from custodes.models.torch import TorchModel

__all__ = ["Fact", "FactEdit", "edit_fact", "fact_probability", "save_model"]

BUDGET = 2048  # Positions of one forward pass.


@dataclass(frozen=True)
class Fact:
    """A fact to write.

    Attributes:
        subject: What it is about; "The Eiffel Tower".
        prompt: With {} for the subject; "{} is in the city of".
        target: What is to follow; " Rome".
    """

    subject: str
    prompt: str
    target: str


@dataclass(frozen=True)
class FactEdit:
    """What an edit did.

    Attributes:
        layer: Whose down projection was changed.
        before: Probability of the target after the prompt, before the edit, in [0, 1].
        after: The same, after it.
        norm: Frobenius norm of the change over that of the weights.
    """

    layer: int
    before: float
    after: float
    norm: float


def edit_fact(
    model: TorchModel,
    fact: Fact,
    texts: Sequence[str],
    *,
    layer: int,
    steps: int = 40,
    rate: float = 0.3,
    prefixes: int = 10,
    seed: int = 0,
) -> FactEdit:
    """Write a fact into a model's weights, in place.

    Args:
        model: The model, without an adapter. Its weights become float32.
        fact: What to write.
        texts: Ordinary text, some thousands of tokens: what the other keys look like.
        layer: Whose MLP to edit, from 0.
        steps: Steps of gradient descent in the search for the new value.
        rate: Learning rate of that search.
        prefixes: Number of text beginnings put before the prompt, so that the key depends on none.
        seed: Chooses the prefixes.

    Raises:
        ConfigError: The prompt has no place for the subject, or there is no such layer.
        ModelError: The model has an adapter, or no gated MLP with a down projection.
    """
    import torch

    if fact.prompt.count("{}") != 1 or not fact.subject or not fact.target:
        raise ConfigError(f"the fact {fact} is not complete", "the prompt has one {}")
    if model.adapter is not None:
        raise ModelError(f"{model.name} has an adapter", "merge it, then edit")
    memory = _memory(model, layer)
    model.model.float()
    keys = [p + fact.prompt.format(fact.subject) for p in _prefixes(texts, prefixes, seed)]
    before = fact_probability(model, fact)
    # 1. The key k*: the subject's last token at the memory's input, averaged (eq. 3).
    rows, places = _subject_rows(model, keys, fact)
    with torch.no_grad():
        key = _inputs(model, memory, rows, places).mean(dim=0)
        # 2. C = E[k kᵀ] over ordinary text, with a little ridge where text is short.
        others = _inputs(model, memory, encode_texts(model.tokenizer, texts), None)
        covariance = others.T @ others / len(others)
        covariance += 1e-3 * covariance.trace() / len(covariance) * torch.eye(len(covariance))
        direction = torch.linalg.solve(covariance, key)
        old = memory.weight @ key
    # 3. The value v*: what the memory should give for the fact to follow (eq. 4).
    value = _find_value(model, memory, fact, keys, old, steps=steps, rate=rate)
    # 4. W + Λ (C⁻¹ k*)ᵀ with Λ = (v* − W k*) / ((C⁻¹ k*)ᵀ k*) (eq. 2).
    with torch.no_grad():
        change = torch.outer((value - old) / (direction @ key), direction)
        norm = float(change.norm() / memory.weight.norm())
        memory.weight += change
    return FactEdit(layer, before, fact_probability(model, fact), norm)


def fact_probability(model: TorchModel, fact: Fact) -> float:
    """Return how probable a model finds the target after the prompt, in [0, 1]."""
    import torch

    prompt, target = encode_texts(model.tokenizer, [fact.prompt.format(fact.subject), fact.target])
    ids = torch.tensor([prompt + target], device=model.model.device)
    with torch.no_grad():
        log_probs = torch.log_softmax(model.model(input_ids=ids).logits[0].float(), dim=-1)
    at = torch.arange(len(prompt) - 1, len(prompt) + len(target) - 1)
    return float(log_probs[at, torch.tensor(target)].sum().exp())


def save_model(model: TorchModel, folder: Path) -> None:
    """Save an edited model as a folder that can be loaded by its path (bf16 safetensors)."""
    import torch

    model.model.to(torch.bfloat16).save_pretrained(folder, safe_serialization=True)
    model.tokenizer.save_pretrained(folder)


def _memory(model: TorchModel, layer: int) -> Any:
    try:
        blocks = model.model.get_decoder().layers
        if not 0 <= layer < len(blocks):
            raise ConfigError(f"there is no layer {layer}", f"give one from 0 to {len(blocks) - 1}")
        return blocks[layer].mlp.down_proj
    except AttributeError as error:
        raise ModelError(
            f"{model.name} has no gated MLP to edit", "edit a model of the Llama family"
        ) from error


def _prefixes(texts: Sequence[str], count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(texts), min(count, len(texts)), replace=False)
    return ["", *(" ".join(texts[i].split()[:8]) + ". " for i in chosen)]


def _subject_rows(
    model: TorchModel, keys: Sequence[str], fact: Fact
) -> tuple[list[list[int]], list[int]]:
    """Encode prompts, and find the last token of the subject in each."""
    tail = fact.prompt.split("{}")[1]
    rows = encode_texts(model.tokenizer, keys)
    heads = [key[: len(key) - len(tail)] for key in keys]
    places = [len(head) - 1 for head in encode_texts(model.tokenizer, heads)]
    return rows, places


@contextmanager
def _hooked(hook: Any) -> Iterator[None]:
    try:
        yield
    finally:
        hook.remove()


def _inputs(
    model: TorchModel, memory: Any, rows: Sequence[Sequence[int]], places: Sequence[int] | None
) -> torch.Tensor:
    """Return the memory's inputs at one place of each row, or at all of them: (k, width)."""
    import torch

    rows = [row for row in rows if row]
    kept: dict[int, torch.Tensor] = {}
    inputs: list[torch.Tensor] = []
    hook = memory.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    with _hooked(hook):
        for batch in batches([len(r) for r in rows], BUDGET):
            ids, mask = left_padded([rows[i] for i in batch], model.model.device)
            model.model(input_ids=ids, attention_mask=mask, position_ids=_positions(mask))
            states = inputs.pop()
            for at, i in enumerate(batch):
                own = states[at, ids.shape[1] - len(rows[i]) :]
                kept[i] = own if places is None else own[places[i]][None]
    return torch.cat([kept[i] for i in range(len(rows))])


def _positions(mask: torch.Tensor) -> torch.Tensor:
    return (mask.cumsum(-1) - 1).clamp(min=0)


def _find_value(
    model: TorchModel,
    memory: Any,
    fact: Fact,
    keys: Sequence[str],
    old: torch.Tensor,
    *,
    steps: int,
    rate: float,
) -> torch.Tensor:
    """Search the output of the memory at the subject that makes the target follow.

    Adam on −log p(target) plus a KL term that keeps "{subject} is a" as it was (their essence
    drift term, weight 0.0625) and a decay of the change's size.
    """
    import torch

    target = encode_texts(model.tokenizer, [fact.target])[0]
    rows, places = _subject_rows(model, keys, fact)
    essence, essence_place = _subject_rows(model, [f"{fact.subject} is a"], Fact(
        fact.subject, "{} is a", fact.target))  # fmt: skip
    full = [row + target for row in rows] + essence
    ids, mask = left_padded(full, model.model.device)
    offset = [ids.shape[1] - len(row) for row in full]
    spots = torch.tensor([o + p for o, p in zip(offset, [*places, *essence_place], strict=True)])
    change = torch.zeros_like(old, requires_grad=True)

    def write(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        written = output.clone()
        written[torch.arange(len(spots)), spots] += change
        return written

    def run() -> torch.Tensor:
        logits = model.model(
            input_ids=ids, attention_mask=mask, position_ids=_positions(mask)
        ).logits
        return torch.log_softmax(logits[:, -len(target) - 1 :].float(), dim=-1)

    with torch.no_grad():
        kept = run()[-1, -1]
    wanted = torch.tensor(target, device=ids.device).expand(len(rows), -1)
    optimizer = torch.optim.Adam([change], lr=rate)
    with _hooked(memory.register_forward_hook(write)):
        for _ in range(steps):
            log_probs = run()
            loss = -log_probs[:-1, :-1].gather(-1, wanted[..., None]).sum(1).mean()
            drift = torch.nn.functional.kl_div(
                log_probs[-1, -1], kept, log_target=True, reduction="sum"
            )
            size = change.norm() ** 2 / old.norm() ** 2
            optimizer.zero_grad()
            (loss + 0.0625 * drift + 0.02 * size).backward()
            optimizer.step()
            with torch.no_grad():  # The change stays within a few times the value (their clamp).
                change *= min(1.0, float(6 * old.norm() / change.norm().clamp(min=1e-9)))
    return (old + change).detach()
