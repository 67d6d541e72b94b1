"""Clean tiny trainers of every kind, from which the self-test's bugs are made."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from custodes.preflight.plants.tiny import (
    demonstrations,
    preferences,
    questions,
    tiny_model,
    tiny_tokenizer,
)

__all__ = ["KINDS", "build", "lora", "overlap_reward", "quiet"]

KINDS = ("sft", "dpo", "kto", "reward", "grpo", "rloo")
_NAMES = {
    "sft": "SFT",
    "dpo": "DPO",
    "kto": "KTO",
    "reward": "Reward",
    "grpo": "GRPO",
    "rloo": "RLOO",
}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep trl, datasets and transformers from writing to the terminal."""
    import datasets
    from transformers.utils import logging as transformers_logging

    bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        transformers_logging.enable_progress_bar()
        if bars:
            datasets.enable_progress_bars()


def lora(**options: Any) -> Any:
    """Return a small LoRA configuration."""
    from peft import LoraConfig

    return LoraConfig(
        **{
            "r": 4,
            "lora_alpha": 8,
            "target_modules": "all-linear",
            "task_type": "CAUSAL_LM",
            **options,
        }
    )


def overlap_reward(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    """Reward the share of the answer's characters that a completion holds, minus what is extra."""
    from custodes.preflight.subject import text_of

    rewards = []
    for completion, right in zip(completions, answer, strict=True):
        said, wanted = set(text_of(completion).split()), set(right.split())
        letters = sum(c in right for c in text_of(completion)[: len(right)]) / max(len(right), 1)
        rewards.append(len(said & wanted) / max(len(said | wanted), 1) + 0.1 * letters)
    return rewards


def build(
    kind: str,
    folder: Path | str,
    *,
    family: str = "llama",
    data: Any = None,
    model: Any = None,
    tokenizer: Any = None,
    base: Any = None,
    dtype: str = "float32",
    options: dict[str, Any] | None = None,
    **extra: Any,
) -> Any:
    """Build a trainer that has no bug.

    Args:
        kind: One of `KINDS`.
        folder: Where its model and outputs go.
        family: Architecture of the model.
        data: Training set; the kind's default if not given.
        model: Model; a new one if not given.
        tokenizer: Tokenizer; a new one if not given.
        base: Subclass of the trainer to build instead.
        dtype: Of a new model's weights.
        options: Arguments of the config.
        extra: Arguments of the trainer.
    """
    import trl

    name = _NAMES[kind]
    config = getattr(trl, f"{name}Config")
    trainer = base or getattr(trl, f"{name}Trainer")
    settings: dict[str, Any] = {
        "output_dir": str(Path(folder) / "out"),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "per_device_train_batch_size": 4,
        "disable_tqdm": True,
        "logging_steps": 1,
        "max_steps": 6,
        "learning_rate": 1e-3 if "peft_config" in extra else 1e-4,
    }
    if kind in ("grpo", "rloo"):
        settings |= {"num_generations": 4, "max_completion_length": 12, "beta": 0.1}
        extra.setdefault("reward_funcs", overlap_reward)
    settings |= options or {}
    if data is None:
        data = {
            "sft": demonstrations,
            "dpo": preferences,
            "kto": lambda: preferences(unpaired=True),
            "reward": preferences,
            "grpo": questions,
            "rloo": questions,
        }[kind]()
    if model is None:
        head = "score" if kind == "reward" else "causal"
        model = tiny_model(folder, family, head=head, dtype=dtype)
    tokenizer = tokenizer or tiny_tokenizer()
    if kind == "reward":
        model.config.pad_token_id = tokenizer.pad_token_id
    return trainer(
        model=model,
        args=config(**settings),
        train_dataset=data,
        processing_class=tokenizer,
        **extra,
    )
