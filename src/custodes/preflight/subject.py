"""The trainer under check: its kind, its models, its tokenizer and its data."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from custodes.preflight.result import NotTestable

__all__ = ["KINDS", "Subject", "text_of"]

# Names of trl's trainers, looked up along the class's bases: a subclass is of its base's kind.
KINDS = {
    "SFTTrainer": "sft",
    "DPOTrainer": "dpo",
    "KTOTrainer": "kto",
    "RewardTrainer": "reward",
    "GRPOTrainer": "grpo",
    "RLOOTrainer": "rloo",
}
_SAMPLE = 64  # Rows that the data and batch layers look at.
_STREAM = 32  # Rows taken from a dataset without a length.


def text_of(value: Any) -> str:
    """Return the text of a prompt or reply: a string, or the contents of its messages."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return text_of(value.get("content") or "")
    if isinstance(value, Iterable):
        return "\n".join(text_of(part) for part in value)
    return "" if value is None else str(value)


class Subject:
    """What a preflight reads from a trainer.

    Args:
        trainer: A transformers `Trainer` or a subclass of it.
        sample: Rows that the data and batch layers look at.
        seed: Chooses them.
    """

    def __init__(self, trainer: Any, *, sample: int = _SAMPLE, seed: int = 0) -> None:
        self.trainer = trainer
        self.sample = sample
        self._seed = seed

    @cached_property
    def kind(self) -> str:
        """ "sft", "dpo", "kto", "reward", "grpo", "rloo", or "plain"."""
        for base in type(self.trainer).__mro__:
            if base.__name__ in KINDS and base.__module__.split(".")[0] in ("trl", "__main__"):
                return KINDS[base.__name__]
        return "plain"

    @property
    def online(self) -> bool:
        """Whether it trains on what the model samples."""
        return self.kind in ("grpo", "rloo")

    @property
    def paired(self) -> bool:
        """Whether a row is a chosen and a rejected reply."""
        return self.kind in ("dpo", "reward")

    @property
    def causal(self) -> bool:
        """Whether the model predicts the next token."""
        if self.kind == "reward":
            return False
        name = type(self.base).__name__
        return name.endswith(("ForCausalLM", "LMHeadModel")) or self.kind != "plain"

    @property
    def args(self) -> Any:
        """The trainer's arguments."""
        return self.trainer.args

    @property
    def model(self) -> Any:
        """The model that is trained, unwrapped; a PEFT model where there is one."""
        model = getattr(self.trainer, "model", None)
        if model is None:
            raise NotTestable("the trainer has no model")
        while hasattr(model, "module") and type(model).__name__ in (
            "DistributedDataParallel",
            "DataParallel",
        ):
            model = model.module
        return model

    @property
    def base(self) -> Any:
        """The transformers model below PEFT's wrapper."""
        model = self.model
        return model.get_base_model() if hasattr(model, "peft_config") else model

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, also where a processor holds it.

        Raises:
            NotTestable: There is none.
        """
        holder = getattr(self.trainer, "processing_class", None)
        tokenizer = getattr(holder, "tokenizer", holder)
        if tokenizer is None or not hasattr(tokenizer, "decode"):
            raise NotTestable("the trainer has no tokenizer (processing_class)")
        return tokenizer

    @property
    def visual(self) -> bool:
        """Whether rows hold images."""
        columns = self.columns
        return bool({"image", "images", "pixel_values"} & set(columns))

    @property
    def on_meta(self) -> bool:
        """Whether some weights have no values yet."""
        return any(p.device.type == "meta" for p in self.model.parameters())

    @property
    def dataset(self) -> Any:
        """The training set as the trainer prepared it."""
        return getattr(self.trainer, "train_dataset", None)

    @cached_property
    def length(self) -> int | None:
        """Rows of the training set; None where it has no length."""
        try:
            return len(self.dataset)
        except TypeError:
            return None

    @cached_property
    def indices(self) -> list[int]:
        """Rows that are looked at: spread over the training set, in order."""
        n = self.length or 0
        if n <= self.sample:
            return list(range(n))
        return sorted(random.Random(self._seed).sample(range(n), self.sample))

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of the training set, with all their columns.

        Raises:
            NotTestable: There are none, or they cannot be read without moving the dataset.
        """
        return self.rows_of(self.dataset, self.indices)

    def rows_of(self, dataset: Any, indices: list[int] | None = None) -> list[dict[str, Any]]:
        """Read some rows of a dataset; without indices, the first ones."""
        if dataset is None:
            raise NotTestable("the trainer has no such dataset")
        if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
            indices = list(range(min(len(dataset), self.sample))) if indices is None else indices
            rows = [dataset[i] for i in indices]
        else:
            if iter(dataset) is dataset:
                raise NotTestable("the dataset is an iterator: reading it would use its rows up")
            rows = list(itertools.islice(iter(dataset), _STREAM))
        if not rows:
            raise NotTestable("the dataset is empty")
        if not isinstance(rows[0], Mapping):
            raise NotTestable(f"rows are of type {type(rows[0]).__name__}, not dicts")
        return [dict(row) for row in rows]

    @cached_property
    def columns(self) -> list[str]:
        """Columns of the training set."""
        names = getattr(self.dataset, "column_names", None)
        if isinstance(names, list):
            return names
        try:
            return list(self.rows[0])
        except NotTestable:
            return []

    @cached_property
    def evaluation_sets(self) -> dict[str, Any]:
        """Evaluation sets by name."""
        sets = getattr(self.trainer, "eval_dataset", None)
        if sets is None:
            return {}
        return dict(sets) if isinstance(sets, Mapping) else {"eval": sets}

    @property
    def end_ids(self) -> set[int]:
        """Ids that end a reply: the tokenizer's, the model's, and those of the template's turns."""
        tokenizer = self.tokenizer
        ends: set[int] = set()
        for holder in (
            tokenizer,
            getattr(self.base, "config", None),
            getattr(self.base, "generation_config", None),
        ):
            value = getattr(holder, "eos_token_id", None)
            if isinstance(value, int):
                ends.add(value)
            elif isinstance(value, list | tuple):
                ends |= {int(one) for one in value}
        names = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>", "</s>")
        vocabulary = tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else {}
        return ends | {vocabulary[name] for name in names if name in vocabulary}

    def describe(self) -> str:
        """Name the trainer's class and the versions of the libraries."""
        import transformers

        versions = [f"transformers {transformers.__version__}"]
        for name in ("trl", "peft"):
            try:
                versions.append(f"{name} {__import__('importlib.metadata').metadata.version(name)}")
            except Exception:
                continue
        return f"{type(self.trainer).__name__} ({', '.join(versions)})"
