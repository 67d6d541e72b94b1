"""Direct preference optimisation of an adapter, by trl.

Rafailov et al. 2023, arXiv:2305.18290. The loss of a pair is −log σ(β m), with the margin
m = [log π(c) − log ρ(c)] − [log π(r) − log ρ(r)] of the chosen answer c over the rejected r. The
reference ρ is the model as it was before the first step, parent adapter and all: its
log-probabilities are computed once, in the very batches that are trained on, so that before the
first step every margin is 0 and the loss is ln 2. If it is not, a control fails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from custodes.control import Control
from custodes.conversation import PreferencePair
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
    import torch

    from custodes.training.lora import LoraModel

__all__ = ["DpoOptions", "dpo"]

# How far from ln 2 the first loss may be, and how far from 0 a margin: rounding, and no more.
_ROUNDING = 1e-4
# How far a shared prompt may move log-probabilities, in nats a token: bf16's rounding.
_SHARED_OFF = 0.05


# What the result calls what trl logs at each step.
SERIES = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "margin": "rewards/margins",
    "accuracy": "rewards/accuracies",
    "chosen_reward": "rewards/chosen",
}


@dataclass(frozen=True)
class DpoOptions:
    """Direct preference optimisation.

    Attributes:
        epochs: Passes over the pairs; 0 skips this training.
        batch: Pairs a step.
        learning_rate: Learning rate at the first step; it falls linearly to 0.
        beta: Strength of the pull towards the parent; with a smaller one the model moves further.
        max_length: Longest prompt and answer together, in tokens; the answer is cut there.
        preflight: Whether one real step is checked, and taken back, before the training.
    """

    epochs: Annotated[int, Field(ge=0)] = 1
    batch: Annotated[int, Field(ge=1)] = 8
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-4
    # A negative beta would train towards the rejected answer; trl takes it without a word.
    beta: Annotated[float, Field(gt=0, le=10)] = 0.1
    max_length: Annotated[int, Field(ge=8)] = 384
    preflight: bool = True


def dpo(
    model: LoraModel,
    pairs: Sequence[PreferencePair],
    options: DpoOptions,
    *,
    max_answer: int,
    seed: int,
    progress: Progress = silent,
) -> TrainResult:
    """Train an adapter to prefer the chosen answers, relative to what it preferred before.

    Args:
        model: The model; its adapter is trained in place.
        pairs: The preference pairs.
        options: Epochs, batch size, learning rate, beta and longest example.
        max_answer: Answers of this many tokens or more were cut off (see `encode_examples`).
        seed: Shuffles the batches.
        progress: Called after each step.

    Raises:
        DataError: No pair fits into ``max_length`` and differs within it.
        CustodesError: The loss stopped being a number.
    """
    data = TrainingSet.of(
        model.tokenizer,
        [pair.prompt for pair in pairs],
        [(pair.chosen, pair.rejected) for pair in pairs],
        _columns,
        max_answer=max_answer,
        max_length=options.max_length,
        batch=options.batch,
        seed=seed,
    )
    training = Training("dpo", model, data)
    with silenced() as folder:
        from datasets import Dataset

        trainer = _trainer(model, Dataset.from_list(data.columns), options, folder, seed)
        with prepared(trainer, model, pairs=True) as own:
            sharing = _sharing_control(model, trainer, own)
            chosen, rejected = _reference(model, trainer, progress)
            trainer.train_dataset = Dataset.from_list(
                [
                    {**row, "ref_chosen_logps": c, "ref_rejected_logps": r}
                    for row, c, r in zip(data.columns, chosen, rejected, strict=True)
                ]
            )
            preflight = preflight_control(trainer, "dpo", enabled=options.preflight)
            log = fit(trainer, progress, "preference optimisation")
    series = {name: [step[key] for step in log] for name, key in SERIES.items()}
    tokens = sum(len(e.prompt) * 2 + sum(map(len, e.answers)) for e in data.examples)
    return training.result(
        series,
        tokens=tokens * options.epochs,
        controls=[
            _start_control(series["loss"][0], series["margin"][0]),
            _sign_control(series["margin"]),
            sharing,
            preflight,
        ],
    )


def _columns(example: Encoded) -> dict[str, Any]:
    chosen, rejected = example.answers
    return {"prompt_ids": example.prompt, "chosen_ids": chosen, "rejected_ids": rejected}


def _trainer(model: LoraModel, dataset: Any, options: DpoOptions, folder: str, seed: int) -> Any:
    from trl import DPOConfig, DPOTrainer

    class Trainer(DPOTrainer):  # type: ignore[misc]
        """trl's, for examples that are token ids already.

        trl would render and encode them again, and there a message that spells a control token
        gets the real one.
        """

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    trainer = Trainer(
        model.model,
        args=DPOConfig(
            **settings(
                model,
                folder=folder,
                batch=options.batch,
                epochs=options.epochs,
                learning_rate=options.learning_rate,
                seed=seed,
            ),
            beta=options.beta,
            loss_type=["sigmoid"],
        ),
        train_dataset=dataset,
        processing_class=model.tokenizer,
    )
    # trl keeps a copy of the parent's adapter to compute the reference with at every step; here
    # the dataset has it.
    model.model.delete_adapter("ref")
    trainer.precompute_ref_logps = True
    return trainer


def _reference(
    model: LoraModel, trainer: Any, progress: Progress
) -> tuple[list[float], list[float]]:
    """Compute each pair's log-probabilities under the model as it is, in the trainer's batches."""
    import torch

    chosen: list[float] = []
    rejected: list[float] = []
    batches = trainer.get_train_dataloader()
    for done, batch in enumerate(batches):
        progress("reference log-probabilities", done, len(batches))
        with torch.no_grad():
            first, second = _sums(model, batch).chunk(2)
        chosen += first.tolist()
        rejected += second.tolist()
    progress("reference log-probabilities", len(batches), len(batches))
    return chosen, rejected


def _sums(model: LoraModel, batch: Any, **how: bool) -> torch.Tensor:
    """Return the log-probability of each row's completion, (rows,)."""
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    out = model.model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        labels=labels,
        use_cache=False,
        fused_lm_head=True,
        **how,
    )
    return out.log_probs.sum(dim=1)  # type: ignore[no-any-return]


def _sharing_control(model: LoraModel, trainer: Any, own: bool) -> Control:
    """Compare a pair in one row, its prompt shared, with its answers in rows of their own.

    Args:
        model: The model.
        trainer: Its trainer, which has the first pair.
        own: Whether the forward pass is ours, which shares prompts.
    """
    import torch

    name = "dpo shares prompts rightly"
    if not own:
        return Control.not_tested(name, "trl's own forward pass is used, which shares no prompt")
    batch = trainer.data_collator([trainer.train_dataset[0]])
    with torch.no_grad():
        shared, apart = _sums(model, batch), _sums(model, batch, share_prompts=False)
    tokens = batch["completion_mask"].sum(dim=1)
    difference = float(((shared - apart).abs() / tokens).max())
    return Control(
        name,
        difference <= _SHARED_OFF,
        f"log-probabilities of a pair whose prompt is shared differ by {difference:.2g} nats a "
        f"token from those of its answers apart (at most {_SHARED_OFF})",
        {"difference": difference, "most": _SHARED_OFF},
    )


def _start_control(loss: float, margin: float) -> Control:
    return Control(
        "dpo starts at its reference",
        abs(loss - math.log(2)) <= _ROUNDING and abs(margin) <= _ROUNDING,
        f"before the first step the loss is {loss:.5f} (must be ln 2 = {math.log(2):.5f}) and the "
        f"mean margin {margin:.5f} (must be 0)",
        {"loss": loss, "margin": margin},
    )


def _sign_control(margins: Sequence[float]) -> Control:
    name = "dpo prefers the chosen"
    if len(margins) < 2:
        return Control.not_tested(name, "before the first of one step every margin is 0")
    late = margins[len(margins) // 2 :]
    mean = sum(late) / len(late)
    return Control(
        name,
        mean > 0,
        f"over the second half of {len(margins)} steps the mean margin is {mean:+.3f} "
        "(must be positive)",
        {"margin": mean, "steps": len(margins)},
    )
