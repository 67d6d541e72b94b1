"""Rows as the trainer's own collator batches them, and the replies that they hold."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from custodes.preflight.measure.forward import Answer
from custodes.preflight.measure.spans import text_span
from custodes.preflight.result import NotTestable
from custodes.preflight.subject import Subject, text_of

if TYPE_CHECKING:
    from custodes.preflight.case import Case

__all__ = ["Batch", "Line", "answers_of", "collate", "replies", "signature_rows"]


@dataclass
class Line:
    """One sequence of a batch, its padding cut off.

    Attributes:
        ids: Token ids.
        trained: Whether the loss counts each token, as the batch's mask or labels say.
        labels: The labels as they came, where the batch has labels.
        source: Index of the row it came from.
        role: "", "chosen" or "rejected".
        place: Row of the batch, and first column there.
        holes: Real tokens that the attention mask hides.
        tail: Padding that the attention mask shows.
        padding_trained: Padding that the labels or the mask mark as trained.
        positions: Position ids, where the batch has them.
    """

    ids: list[int]
    trained: list[bool]
    labels: list[int] | None
    source: int
    role: str
    place: tuple[int, int]
    holes: int = 0
    tail: int = 0
    padding_trained: int = 0
    positions: list[int] | None = None


@dataclass
class Batch:
    """What the collator made.

    Attributes:
        inputs: As the trainer gets it.
        rows: The dataset's rows it was made of.
        lines: Its sequences; empty for what is not a batch of token ids.
        packed: Whether several sequences share a row.
    """

    inputs: dict[str, Any]
    rows: list[dict[str, Any]]
    lines: list[Line] = field(default_factory=list)
    packed: bool = False


def signature_rows(case: Case, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep the columns that the trainer keeps."""
    from custodes.preflight.case import plain_rows

    trainer = case.trainer
    kept = plain_rows(list(rows))
    if case.subject.online or not getattr(trainer.args, "remove_unused_columns", True):
        return kept
    if getattr(trainer.train_dataset, "column_names", None) is None:
        return kept
    trainer._set_signature_columns_if_needed()
    names = set(trainer._signature_columns or [])
    if not names & set(kept[0]):
        return kept
    return [{key: value for key, value in row.items() if key in names} for row in kept]


def collate(case: Case, rows: Sequence[dict[str, Any]]) -> Batch:
    """Batch rows with the trainer's own collator."""
    subject = case.subject
    if subject.online:
        raise NotTestable("this trainer's batches are prompts; see the step layer")
    inputs = case.trainer.data_collator(signature_rows(case, rows))
    if not hasattr(inputs, "items"):
        raise NotTestable(f"the collator returned a {type(inputs).__name__}, not a dict")
    batch = Batch(dict(inputs), list(rows))
    ids = batch.inputs.get("input_ids")
    if ids is not None and getattr(ids, "ndim", 0) == 2:
        batch.lines, batch.packed = _lines(case, batch)
    return batch


def _lines(case: Case, batch: Batch) -> tuple[list[Line], bool]:
    inputs, rows = batch.inputs, batch.rows
    ids = inputs["input_ids"].tolist()
    attention = inputs.get("attention_mask")
    attention = attention.tolist() if attention is not None and attention.ndim == 2 else None
    labels = inputs["labels"].tolist() if _matches(inputs, "labels") else None
    mask = inputs["completion_mask"].tolist() if _matches(inputs, "completion_mask") else None
    positions = inputs.get("position_ids")
    positions = positions.tolist() if positions is not None and positions.ndim == 2 else None
    pad = getattr(getattr(case.trainer, "processing_class", None), "pad_token_id", None)
    lines: list[Line] = []
    flat = attention is None and positions is not None
    for r, row in enumerate(ids):
        cuts = [0, len(row)]
        if flat:
            starts = [c for c in range(len(row)) if positions and positions[r][c] == 0]
            cuts = [*starts, len(row)]
        for start, stop in itertools.pairwise(cuts):
            columns = list(range(start, stop))
            if attention is not None:
                shown = [c for c in columns if attention[r][c]]
                real = [c for c in columns if row[c] != pad]
                first, last = (min(real), max(real)) if real else (0, -1)
                holes = sum(1 for c in columns if first <= c <= last and not attention[r][c])
                columns = [c for c in columns if first <= c <= last or c in set(shown)]
                tail = sum(1 for c in shown if c > last + 1 or c < first)
            else:
                holes = tail = 0
            row_labels = [labels[r][c] for c in columns] if labels is not None else None
            if mask is not None:
                trained = [bool(mask[r][c]) for c in columns]
            elif row_labels is not None:
                trained = [value != -100 for value in row_labels]
            else:
                trained = [False] * len(columns)
            lines.append(
                Line(
                    [row[c] for c in columns],
                    trained,
                    row_labels,
                    0,
                    "",
                    (r, columns[0] if columns else 0),
                    holes,
                    tail,
                    _marked(range(start, stop), columns, labels, mask, r),
                    None if positions is None else [positions[r][c] for c in columns],
                )
            )
    _sources(case.subject, lines, len(rows))
    return lines, len(lines) != len(ids) or "seq_lengths" in rows[0]


def _marked(every: range, kept: list[int], labels: Any, mask: Any, row: int) -> int:
    """Count padding that is marked as trained."""
    rest = set(every) - set(kept)
    by_label = sum(labels[row][c] != -100 for c in rest) if labels is not None else 0
    by_mask = sum(bool(mask[row][c]) for c in rest) if mask is not None else 0
    return max(by_label, by_mask)


def _matches(inputs: dict[str, Any], name: str) -> bool:
    value = inputs.get(name)
    return value is not None and getattr(value, "shape", None) == inputs["input_ids"].shape


def _sources(subject: Subject, lines: list[Line], rows: int) -> None:
    for place, line in enumerate(lines):
        line.source = place % rows if rows else 0
        if subject.paired and len(lines) == 2 * rows:
            line.role = "chosen" if place < rows else "rejected"


def replies(subject: Subject, row: dict[str, Any], role: str = "") -> tuple[str, list[str]] | None:
    """Return a row's prompt and the texts that it should train, from the raw columns.

    None where the row has no raw text, or all of its text is trained.
    """
    if role:
        if role not in row:
            return None
        reply = row[role]
        prompt = row.get("prompt")
        if prompt is None and isinstance(reply, list):
            other = row["rejected" if role == "chosen" else "chosen"]
            shared = 0
            while shared < min(len(reply), len(other)) and reply[shared] == other[shared]:
                shared += 1
            return text_of(reply[:shared]), [text_of(one) for one in reply[shared:]]
        return (text_of(prompt), _contents(reply)) if prompt is not None else None
    if "completion" in row and "prompt" in row:
        return text_of(row["prompt"]), _contents(row["completion"])
    messages = row.get("messages", row.get("conversations"))
    if isinstance(messages, list) and getattr(subject.args, "assistant_only_loss", False):
        said = [m for m in messages if m.get("role", m.get("from")) in ("assistant", "gpt")]
        rest = [m for m in messages if m not in said]
        return text_of(rest), [text_of(m.get("content", m.get("value"))) for m in said]
    return None


def _contents(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    said = [m for m in value if m.get("role") == "assistant"] or list(value)
    return [text_of(message) for message in said]


def answers_of(subject: Subject, rows: Sequence[dict[str, Any]]) -> list[Answer]:
    """Return the replies of rows as token ids, from the dataset and not from the collator."""
    found: list[Answer] = []
    limit = getattr(subject.args, "max_length", None)
    keep_end = getattr(subject.args, "truncation_mode", "keep_start") == "keep_end"
    for group, row in enumerate(rows):
        if subject.kind == "reward" and "chosen_ids" in row:
            for sign, name in ((1, "chosen_ids"), (-1, "rejected_ids")):
                ids = tuple(row[name])
                found.append(Answer(ids, (True,) * len(ids), sign, group))
        elif "prompt_ids" in row and "chosen_ids" in row:
            for sign, name in ((1, "chosen_ids"), (-1, "rejected_ids")):
                found.append(_joined(row["prompt_ids"], row[name], sign, group, limit, keep_end))
        elif "prompt_ids" in row and "completion_ids" in row:
            sign = 1 if row.get("label", True) else -1
            found.append(
                _joined(row["prompt_ids"], row["completion_ids"], sign, group, limit, keep_end)
            )
        elif "input_ids" in row:
            found += _documents(subject, row, group)
    if not found:
        raise NotTestable(
            "the dataset has no token ids: the collator makes them "
            f"(columns: {', '.join(map(str, rows[0]))})"
        )
    return found


def _joined(
    prompt: Any, reply: Any, sign: int, group: int, limit: int | None, keep_end: bool
) -> Answer:
    ids = (*prompt, *reply)
    mask = (False,) * len(prompt) + (True,) * len(reply)
    if limit is not None and len(ids) > limit:
        cut = slice(-limit, None) if keep_end else slice(None, limit)
        ids, mask = ids[cut], mask[cut]
    return Answer(ids, mask, sign, group)


def _documents(subject: Subject, row: dict[str, Any], group: int) -> list[Answer]:
    ids = list(row["input_ids"])
    labels = row.get("labels")
    same = isinstance(labels, list) and len(labels) == len(ids)
    mask = [value != -100 for value in labels] if same and labels else [True] * len(ids)
    for column in ("completion_mask", "assistant_masks"):
        if isinstance(row.get(column), list) and len(row[column]) == len(ids) and not same:
            mask = [a and bool(b) for a, b in zip(mask, row[column], strict=True)]
    raw = replies(subject, row)
    if raw is not None and getattr(subject.trainer, "completion_only_loss", True):
        spans = [text_span(subject.tokenizer, ids, text) for text in raw[1]]
        if spans and all(spans):
            mask = [any(a <= i < b for a, b in spans if True) for i in range(len(ids))]  # type: ignore[misc]
    lengths = row.get("seq_lengths") or [len(ids)]
    found, start = [], 0
    for length in lengths:
        part = slice(start, start + length)
        found.append(Answer(tuple(ids[part]), tuple(mask[part]), 1, group))
        start += length
    return found
