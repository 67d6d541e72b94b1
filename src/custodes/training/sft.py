"""Supervised fine-tuning of an adapter, by trl."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from custodes.conversation import Demonstration
from custodes.progress import Progress, silent
from custodes.training.examples import Encoded, TrainingSet
from custodes.training.result import TrainResult
from custodes.training.trainer import (
    Training,
    fit,
    preflight_control,
    prepared,
    settings,
    silenced,
)

if TYPE_CHECKING:
    from custodes.training.lora import LoraModel

__all__ = ["SftOptions", "sft"]


@dataclass(frozen=True)
class SftOptions:
    """Supervised fine-tuning.

    Attributes:
        epochs: Passes over the examples; 0 skips this training.
        batch: Examples a step.
        learning_rate: Learning rate at the first step; it falls linearly to 0.
        max_length: Longest prompt and answer together, in tokens; the answer is cut there.
        preflight: Whether one real step is checked, and taken back, before the training.
    """

    epochs: Annotated[int, Field(ge=0)] = 1
    batch: Annotated[int, Field(ge=1)] = 8
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-4
    max_length: Annotated[int, Field(ge=8)] = 384
    preflight: bool = True


def sft(
    model: LoraModel,
    rows: Sequence[Demonstration],
    options: SftOptions,
    *,
    max_answer: int,
    seed: int,
    progress: Progress = silent,
) -> TrainResult:
    """Train an adapter to answer as demonstrated; the loss is on the answers alone.

    Args:
        model: The model; its adapter is trained in place.
        rows: The demonstrations.
        options: Epochs, batch size, learning rate and longest example.
        max_answer: Answers of this many tokens or more were cut off (see `encode_examples`).
        seed: Shuffles the batches.
        progress: Called after each step.

    Raises:
        DataError: No row fits into ``max_length``.
        CustodesError: The loss stopped being a number.
    """
    data = TrainingSet.of(
        model.tokenizer,
        [row.prompt for row in rows],
        [(row.response,) for row in rows],
        _columns,
        max_answer=max_answer,
        max_length=options.max_length,
        batch=options.batch,
        seed=seed,
    )
    training = Training("sft", model, data)
    with silenced() as folder:
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer

        trainer = SFTTrainer(
            model.model,
            args=SFTConfig(
                **settings(
                    model,
                    folder=folder,
                    batch=options.batch,
                    epochs=options.epochs,
                    learning_rate=options.learning_rate,
                    seed=seed,
                ),
                dataset_kwargs={"skip_prepare_dataset": True},
            ),
            train_dataset=Dataset.from_list(data.columns),
            processing_class=model.tokenizer,
        )
        with prepared(trainer, model, pairs=False):
            preflight = preflight_control(trainer, "sft", enabled=options.preflight)
            log = fit(trainer, progress, "supervised fine-tuning")
    return training.result(
        {name: [step[name] for step in log] for name in ("loss", "grad_norm")},
        tokens=sum(example.length for example in data.examples) * options.epochs,
        controls=[preflight],
    )


def _columns(example: Encoded) -> dict[str, Any]:
    (answer,) = example.answers
    ignored = [-100] * len(example.prompt)
    return {"input_ids": example.prompt + answer, "labels": ignored + answer}
