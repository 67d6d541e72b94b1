"""Everything that an Expert reads of an answer, from one pass with the prompt and one without.

An exchange is a prompt and an answer to it. The pass with the prompt gives hidden states and the
log-probability of each token of the answer; the pass without it gives the log-probabilities that
the answer's words have on their own. The prompt's keys and values are computed once for all answers
to it. Log-probabilities cost about as much as the states do (the vocabulary is large), so they are
computed for the first tokens only.

Shapes: N exchanges, L layers, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from custodes.conversation import Chat, Message
from custodes.models.base import Array
from custodes.models.chat import encode_chats, encode_texts
from custodes.models.decode import left_padded

if TYPE_CHECKING:
    import torch

__all__ = [
    "ALONE_TOKENS",
    "GIVEN_TOKENS",
    "PLACES",
    "ExchangeModel",
    "Exchanges",
    "read_exchanges",
]

PLACES = ("start", "mean", "last", "verdict")
"""Where states are read: before the answer's first token, over its tokens, at its last token, and
where the model, asked whether that was a good answer, is about to say."""

QUESTION, VERDICT = "Was that a good answer?", "That answer was"
"""What the model is asked behind the answer, and how its reply begins."""

GIVEN_TOKENS = 32
"""Tokens of an answer whose log-probability given the prompt is computed."""

ALONE_TOKENS = 24
"""Tokens of an answer whose log-probability without the prompt is computed."""

# Rows of logits at once: few enough to stay in the processor's cache.
_ROWS = 48


@dataclass(frozen=True)
class Exchanges:
    """What was read.

    Attributes:
        states: Shape (N, L, len(PLACES), D), float32.
        given: For each answer the log-probabilities of its first tokens given the prompt, <= 0.
        alone: The same without the prompt, of fewer tokens.
        end_given: Log-probability that the answer ends where it does, given the prompt; shape (N,).
        tokens: Length of each answer in tokens; shape (N,).
    """

    states: Array
    given: tuple[Array, ...]
    alone: tuple[Array, ...]
    end_given: Array
    tokens: Array


class ExchangeModel(Protocol):
    """A frozen model that an Expert can read.

    Attributes:
        name: The name it was asked for by.
        version: Changes whenever the weights do.
    """

    name: str
    version: str

    def exchanges(
        self, chats: Sequence[Chat], answers: Sequence[str], layers: Sequence[int]
    ) -> Exchanges:
        """Read ``answers[i]`` as the answer to ``chats[i]`` (see `read_exchanges`)."""
        ...


def read_exchanges(
    model: Any,
    tokenizer: Any,
    chats: Sequence[Chat],
    answers: Sequence[str],
    layers: Sequence[int],
    *,
    budget: int = 1_024,
) -> Exchanges:
    """Read ``answers[i]`` as the answer to ``chats[i]``.

    Args:
        model: A causal language model of transformers, in evaluation mode.
        tokenizer: Its tokenizer.
        chats: Conversations up to where the answer is due.
        answers: The answers; an empty one has the states of "start" for "mean" and "last".
        layers: Indices into the hidden states; 0 is the embedding.
        budget: Most positions (rows times longest row) of one forward pass.
    """
    import torch

    prompts = [tuple(ids) for ids in encode_chats(tokenizer, chats)]
    texts = encode_texts(tokenizer, answers)
    header, verdict = _header(tokenizer), _verdict(tokenizer)
    n, width = len(prompts), model.config.hidden_size
    states = np.zeros((n, len(layers), len(PLACES), width), np.float32)
    given: list[Array] = [np.zeros(0, np.float32)] * n
    alone: list[Array] = [np.zeros(0, np.float32)] * n
    end_N = np.zeros(n, np.float32)
    with torch.no_grad():
        for chunk in _chunks(prompts, texts, budget):
            own, answer_ids = [prompts[i] for i in chunk], [texts[i] for i in chunk]
            read = _with_prompt(model, own, answer_ids, verdict, layers)
            bare = _without_prompt(model, header, answer_ids)
            for at, i in enumerate(chunk):
                states[i] = read[0][at]
                row = read[1][at]
                given[i], end_N[i] = np.array(row[:-1], np.float32), row[-1]
                alone[i] = bare[at]
    lengths = np.array([len(text) for text in texts], np.float32)
    return Exchanges(states, tuple(given), tuple(alone), end_N, lengths)


def _with_prompt(
    model: Any,
    prompts: Sequence[tuple[int, ...]],
    answers: Sequence[list[int]],
    verdict: Sequence[int],
    layers: Sequence[int],
) -> tuple[list[Array], list[Array]]:
    """Return each exchange's states (L, 4, D), and log-probabilities with that of the end last."""
    import torch

    body, device = model.get_decoder(), model.device
    distinct = list(dict.fromkeys(prompts))
    owner = torch.tensor([distinct.index(prompt) for prompt in prompts], device=device)
    ids, mask = left_padded(distinct, device)
    begun = body(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        use_cache=True,
        output_hidden_states=True,
    )
    start = [begun.hidden_states[layer][:, -1].float()[owner] for layer in layers]
    before = begun.last_hidden_state[:, -1][owner]
    past = begun.past_key_values
    past.batch_select_indices(owner)

    rows, present = _right_padded([[*answer, *verdict] for answer in answers], device)
    offset = mask.sum(-1)[owner]
    read = body(
        input_ids=rows,
        attention_mask=torch.cat([mask[owner], present], dim=1),
        position_ids=offset[:, None] + torch.arange(rows.shape[1], device=device),
        past_key_values=past,
        use_cache=True,
        output_hidden_states=True,
    )
    states: list[Array] = []
    wanted, targets = [], []
    end = _end(model)
    for i, answer in enumerate(answers):
        n = len(answer)
        pooled = []
        for at, layer in enumerate(layers):
            told = read.hidden_states[layer][i, : n + len(verdict)].float()
            first = start[at][i]
            answered = [told[:n].mean(0), told[n - 1]] if n else [first] * 2
            pooled.append(torch.stack([first, *answered, told[-1]]))
        states.append(torch.stack(pooled).cpu().numpy())
        follow = torch.cat([before[i][None], read.last_hidden_state[i, :n]])
        few = min(n, GIVEN_TOKENS)
        wanted.append(torch.cat([follow[:few], follow[n : n + 1]]))
        targets.append([*answer[:few], end])
    return states, _log_probabilities(model, wanted, targets)


def _without_prompt(model: Any, header: Sequence[int], answers: Sequence[list[int]]) -> list[Array]:
    """Return the log-probabilities of each answer's first tokens behind the bare header."""
    few = [answer[:ALONE_TOKENS] for answer in answers]
    ids, mask = _right_padded([[*header, *answer] for answer in few], model.device)
    last = model.get_decoder()(input_ids=ids, attention_mask=mask, use_cache=False)
    states = last.last_hidden_state
    first = len(header) - 1
    wanted = [states[i, first : first + len(answer)] for i, answer in enumerate(few)]
    return _log_probabilities(model, wanted, few)


def _log_probabilities(
    model: Any, states: Sequence[torch.Tensor], targets: Sequence[Sequence[int]]
) -> list[Array]:
    """Look up each target's log-probability at its state; one array for each sequence."""
    import torch

    head = model.get_output_embeddings()
    flat = torch.cat(list(states))
    wanted = torch.tensor([t for row in targets for t in row], device=flat.device)
    found = [np.zeros(0, np.float32)]
    for at in range(0, len(flat), _ROWS):
        logits = head(flat[at : at + _ROWS]).float()
        hit = logits.gather(-1, wanted[at : at + _ROWS, None])[:, 0] - logits.logsumexp(-1)
        found.append(hit.cpu().numpy())
    ends = np.cumsum([len(row) for row in targets])[:-1]
    return list(np.split(np.concatenate(found), ends))


def _right_padded(rows: Sequence[Sequence[int]], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    longest = max(1, *map(len, rows))
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[i, : len(row)] = 1
    return ids.to(device), mask.to(device)


def _end(model: Any) -> int:
    """Return the token that ends an answer."""
    ends = model.generation_config.eos_token_id
    return int(ends if isinstance(ends, int) else ends[0])


def _header(tokenizer: Any) -> list[int]:
    """Return what the chat template puts before an answer, and no prompt."""
    with_reply = encode_chats(tokenizer, [[{"role": "user", "content": "a"}]])[0]
    without = encode_chats(tokenizer, [[{"role": "user", "content": "a"}]], reply=False)[0]
    return with_reply[len(without) :] or with_reply[-1:]


def _verdict(tokenizer: Any) -> list[int]:
    """Return what follows an answer when the model is asked whether it was good."""
    chat: list[Message] = [{"role": "user", "content": "a"}]
    answered = [*chat, Message(role="assistant", content="b")]
    asked = encode_chats(tokenizer, [[*answered, Message(role="user", content=QUESTION)]])[0]
    begun = encode_chats(tokenizer, [chat])[0] + encode_texts(tokenizer, ["b"])[0]
    reply = encode_texts(tokenizer, [VERDICT])[0]
    if asked[: len(begun)] == begun:
        return [*asked[len(begun) :], *reply]
    # A template that rewrites earlier turns has no such continuation: ask in plain words.
    return encode_texts(tokenizer, [f"\n\n{QUESTION} {VERDICT}"])[0]


def _chunks(
    prompts: Sequence[tuple[int, ...]], answers: Sequence[list[int]], budget: int
) -> Iterator[list[int]]:
    """Split into chunks whose padded positions are within the budget; one prompt stays together."""
    order = sorted(
        range(len(prompts)), key=lambda i: (len(prompts[i]), prompts[i], len(answers[i]))
    )
    chunk: list[int] = []
    for i in order:
        grown = [*chunk, i]
        distinct = {prompts[j] for j in grown}
        size = len(distinct) * max(map(len, distinct))
        size += len(grown) * (max(len(answers[j]) for j in grown) + 2 * ALONE_TOKENS)
        if chunk and size > budget:
            yield chunk
            chunk = []
        chunk.append(i)
    if chunk:
        yield chunk
