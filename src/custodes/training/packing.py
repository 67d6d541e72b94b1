"""Completions of one prompt in one row [prompt, completion 1, completion 2 …].

Each completion sees the prompt and itself (`forward.visible`), at the positions it would have by
itself: a prompt is computed once for all its completions (Wang & Hegde 2024, arXiv:2410.20305).

Shapes: N completions, T the longest in tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["Packed", "Sequences", "by_prompt", "pack", "parts"]

_LONGEST_ROW = 640
"""Positions of one row; attention costs their square. More completions go into further rows."""

_PADDING = 1_000_000


@dataclass(frozen=True)
class Sequences:
    """Prompts and completions as token ids, N of each.

    Attributes:
        prompts: Token ids up to the header of the assistant's turn.
        completions: Token ids of the completions, at least one each.
    """

    prompts: Sequence[tuple[int, ...]]
    completions: Sequence[tuple[int, ...]]

    def __len__(self) -> int:
        return len(self.completions)

    def at(self, indices: Sequence[int]) -> Sequences:
        """Return some of them."""
        return Sequences([self.prompts[i] for i in indices], [self.completions[i] for i in indices])

    def mask(self, device: Any = None) -> torch.Tensor:
        """Return where there are tokens, (N, T) bool."""
        import torch

        lengths = torch.tensor([len(c) for c in self.completions], device=device)
        return torch.arange(int(lengths.max()), device=device) < lengths[:, None]


def by_prompt(sequences: Sequences) -> list[list[int]]:
    """Group completions by their prompt."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, prompt in enumerate(sequences.prompts):
        groups.setdefault(prompt, []).append(i)
    return list(groups.values())


def parts(sequences: Sequences, budget: int) -> list[list[int]]:
    """Split completions into batches of about equal lengths within a budget of padded positions.

    Completions that share a row stay together.
    """
    rows = _rows(sequences)
    sizes = [_size(sequences, row) for row in rows]
    batches: list[list[int]] = []
    longest = filled = 0
    for at in sorted(range(len(rows)), key=lambda i: -sizes[i]):
        if not batches or (filled + 1) * longest > budget:
            batches.append([])
            longest, filled = sizes[at], 0
        batches[-1] += rows[at]
        filled += 1
    return batches


@dataclass(frozen=True)
class Packed:
    """Rows [prompt, completion …], padded on the right.

    Attributes:
        ids, positions, segments: (rows, longest).
        rows, columns: (tokens,): where each completion token is predicted, in the order of the
            completions.
        targets: (tokens,): the tokens themselves.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    segments: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    targets: torch.Tensor


def _size(sequences: Sequences, row: Sequence[int]) -> int:
    return len(sequences.prompts[row[0]]) + sum(len(sequences.completions[i]) for i in row)


def _rows(sequences: Sequences) -> list[list[int]]:
    """Group completions by prompt, in rows that are not too long."""
    rows: list[list[int]] = []
    last: dict[tuple[int, ...], list[int]] = {}
    for i, prompt in enumerate(sequences.prompts):
        row = last.get(prompt)
        if row is None or _size(sequences, [*row, i]) > _LONGEST_ROW:
            row = last[prompt] = []
            rows.append(row)
        row.append(i)
    return rows


def pack(sequences: Sequences, device: Any) -> Packed:
    """Put completions of one prompt into one row."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ids: list[torch.Tensor] = []
    positions: list[torch.Tensor] = []
    segments: list[torch.Tensor] = []
    sites: list[list[tuple[int, int]]] = [[] for _ in range(len(sequences))]
    for at, row in enumerate(_rows(sequences)):
        prompt = list(sequences.prompts[row[0]])
        start = len(prompt)
        text, place, segment = prompt[:], list(range(start)), [0] * start
        for number, i in enumerate(row, 1):
            completion = sequences.completions[i]
            # A completion's first token is predicted by the prompt's last.
            sites[i] = [
                (at, start - 1 if k == 0 else len(text) + k - 1) for k in range(len(completion))
            ]
            text += completion
            place += range(start, start + len(completion))
            segment += [number] * len(completion)
        for parts, values in ((ids, text), (positions, place), (segments, segment)):
            parts.append(torch.tensor(values))
    rows, columns = torch.tensor([site for one in sites for site in one], device=device).T
    targets = torch.tensor([t for one in sequences.completions for t in one], device=device)
    return Packed(
        pad_sequence(ids, batch_first=True).to(device),
        pad_sequence(positions, batch_first=True).to(device),
        pad_sequence(segments, batch_first=True, padding_value=_PADDING).to(device),
        rows,
        columns,
        targets,
    )
