"""Checks on what the evaluation set shares with the training set."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable
from typing import Any

from custodes.preflight.case import Case
from custodes.preflight.registry import check, failed, not_tested, verdict
from custodes.preflight.result import NotTestable, Verdict
from custodes.preflight.subject import text_of

__all__: list[str] = []

_MOST = 20_000  # Rows of a set that are hashed.
_WORDS = 13  # Words of an n-gram, as in the GPT-3 paper (Brown et al. 2020, appendix C).
_COLUMNS = (
    "text",
    "messages",
    "conversations",
    "prompt",
    "completion",
    "chosen",
    "input_ids",
    "prompt_ids",
)


def _texts(dataset: Any) -> list[str]:
    names = getattr(dataset, "column_names", None)
    columns = [c for c in _COLUMNS if isinstance(names, list) and c in names][:3]
    if columns and hasattr(dataset, "select_columns"):
        dataset = dataset.select_columns(columns)
    found = []
    for row in itertools.islice(iter(dataset), _MOST):
        if not isinstance(row, dict):
            raise NotTestable(f"rows are of type {type(row).__name__}, not dicts")
        parts = [text_of(row[c]) for c in (columns or row) if c in row and row[c] is not None]
        found.append(" ".join(parts))
    return found


def _key(text: str) -> bytes:
    return hashlib.blake2b(" ".join(text.lower().split()).encode(), digest_size=8).digest()


def _grams(text: str) -> Iterable[int]:
    words = re.findall(r"\w+", text.lower())
    return {hash(tuple(words[i : i + _WORDS])) for i in range(max(len(words) - _WORDS + 1, 0))}


@check(
    "evaluation-held-out",
    "data",
    expected="less than 1% of the evaluation rows are in the training set, and less than 10% share "
    "half of their 13-word sequences with it",
    remedy="split before augmenting, and deduplicate across the split (train_test_split, then "
    "drop)",
    reference="argilla-io/notus#10",
)
def evaluation_held_out(case: Case) -> Verdict:
    """No evaluation row was trained on."""
    sets = case.subject.evaluation_sets
    if not sets:
        return not_tested("there is no evaluation set")
    dataset = case.subject.dataset
    if dataset is None or case.subject.length is None:
        return not_tested("the training set is a stream: reading it would take too long")
    train = _texts(dataset)
    keys = {_key(text) for text in train}
    grams: set[int] = set()
    for text in train:
        grams.update(_grams(text))
    same = near = total = 0
    for held_out in sets.values():
        if getattr(held_out, "__len__", None) is None:
            continue
        for text in _texts(held_out):
            total += 1
            mine = set(_grams(text))
            if _key(text) in keys:
                same += 1
            elif mine and len(mine & grams) / len(mine) >= 0.5:
                near += 1
    if total == 0:
        return not_tested("the evaluation set has no rows that can be read")
    return verdict(
        same / total < 0.01 and near / total < 0.1,
        f"of {total} evaluation rows {same} are in the training set word for word and {near} share "
        f"half or more of their {_WORDS}-word sequences with it",
        same=same,
        near=near,
        rows=total,
    )


@check(
    "evaluation-rows",
    "data",
    expected="an evaluation set with rows wherever eval_strategy asks for one",
    remedy="pass an eval_dataset with rows, or set eval_strategy='no'",
    reference="docs/guide/preflight.md",
)
def evaluation_rows(case: Case) -> Verdict:
    """Where evaluation is asked for, there is something to evaluate."""
    strategy = str(getattr(case.subject.args, "eval_strategy", "no")).split(".")[-1].lower()
    sets = case.subject.evaluation_sets
    if strategy == "no" and not sets:
        return not_tested("no evaluation is asked for")
    sizes = {name: len(d) if hasattr(d, "__len__") else None for name, d in sets.items()}
    args = case.subject.args
    if any(size == 0 for size in sizes.values()) or (strategy != "no" and not sets):
        return failed(
            f"eval_strategy is {strategy!r} and the evaluation sets have {sizes or 'no'} rows",
            sizes=sizes,
        )
    metric = getattr(args, "metric_for_best_model", None)
    greater = getattr(args, "greater_is_better", None)
    if metric and str(metric).endswith("loss") and greater and args.load_best_model_at_end:
        return failed(
            f"metric_for_best_model is {metric!r} with greater_is_better=True: the worst model "
            "would be kept",
            metric=metric,
        )
    return verdict(True, f"evaluation sets: {sizes}", sizes=sizes)
