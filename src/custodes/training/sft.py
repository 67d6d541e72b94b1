"""Supervised fine-tuning of an adapter, by trl."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from custodes.data.datasets import Demonstration
from custodes.progress import Progress, silent
from custodes.training.examples import Encoded, batched_order, encode_examples, fingerprint
from custodes.training.result import TrainResult, gradient_check
from custodes.training.trainer import fit, prepared, settings, silenced

if TYPE_CHECKING:
    from custodes.training.lora import LoraModel

__all__ = ["SftOptions", "sft"]


@dataclass(frozen=True)
class SftOptions:
    """Supervised fine-tuning.

    Attributes:
        epochs: Passes over the examples; 0 leaves it out.
        batch: Examples a step.
        learning_rate: At the first step; it falls to 0 at the last, linearly.
        max_length: Longest prompt and answer together, in tokens; the answer is cut there.
        preflight: Check the trainer's batches and one real step before it trains.
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
        model: Whose adapter is trained, in place.
        rows: What to learn.
        options: How.
        max_answer: Answers of this many tokens or more were cut off (see `encode_examples`).
        seed: Of the order of batches.
        progress: Told each step.

    Raises:
        DataError: No row fits into ``max_length``.
        CustodesError: The loss stopped being a number.
    """
    began = time.perf_counter()
    examples = encode_examples(
        model.tokenizer,
        [row.prompt for row in rows],
        [(row.response,) for row in rows],
        max_answer=max_answer,
        max_length=options.max_length,
    )
    order = batched_order([example.length for example in examples], options.batch, seed)
    columns = [_columns(examples[i]) for i in order]
    before = model.factors()
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
            train_dataset=Dataset.from_list(columns),
            processing_class=model.tokenizer,
        )
        with prepared(trainer, model, pairs=False):
            logged = fit(trainer, progress, "supervised fine-tuning", preflight=options.preflight)
    norms = [step["grad_norm"] for step in logged]
    return TrainResult(
        method="sft",
        rows=len(examples),
        left_out=len(rows) - len(examples),
        tokens=sum(example.length for example in examples) * options.epochs,
        trainable=model.trainable,
        data=fingerprint(columns),
        series={"loss": [step["loss"] for step in logged], "grad_norm": norms},
        moved=model.moved_from(before),
        controls=[gradient_check("sft", norms, model.trainable)],
        seconds=time.perf_counter() - began,
    )


def _columns(example: Encoded) -> dict[str, Any]:
    (answer,) = example.answers
    ignored = [-100] * len(example.prompt)
    return {"input_ids": example.prompt + answer, "labels": ignored + answer}
