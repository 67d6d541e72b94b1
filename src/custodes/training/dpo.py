"""Direct preference optimisation of an adapter, by trl.

Rafailov et al. 2023, arXiv:2305.18290. The loss of a pair is −log σ(β m), with the margin
m = [log π(c) − log ρ(c)] − [log π(r) − log ρ(r)] of the chosen answer c over the rejected r. The
reference ρ is the model as it was before the first step, parent adapter and all: its
log-probabilities are computed once, in the very batches that are trained on, so that before the
first step every margin is 0 and the loss is ln 2. If it is not, a control fails.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from custodes.data.datasets import PreferencePair
from custodes.progress import Progress, silent
from custodes.training.examples import Encoded, batched_order, encode_examples, fingerprint
from custodes.training.result import TrainResult, check, gradient_check
from custodes.training.trainer import fit, prepared, settings, silenced

if TYPE_CHECKING:
    import torch

    from custodes.training.lora import LoraModel

__all__ = ["DpoOptions", "dpo"]

# How far from ln 2 the first loss may be, and how far from 0 a margin: rounding, and no more.
_ROUNDING = 1e-4
# How far a shared prompt may move log-probabilities, in nats a token: bf16's rounding.
_SHARED_OFF = 0.05


@dataclass(frozen=True)
class DpoOptions:
    """Direct preference optimisation.

    Attributes:
        epochs: Passes over the pairs; 0 leaves it out.
        batch: Pairs a step.
        learning_rate: At the first step; it falls to 0 at the last, linearly.
        beta: How much straying from the parent costs; the smaller, the further it strays.
        max_length: Longest prompt and answer together, in tokens; the answer is cut there.
        preflight: Check the trainer's batches and one real step before it trains.
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
        model: Whose adapter is trained, in place.
        pairs: What to prefer.
        options: How.
        max_answer: Answers of this many tokens or more were cut off (see `encode_examples`).
        seed: Of the order of batches.
        progress: Told each step.

    Raises:
        DataError: No pair fits into ``max_length`` and differs within it.
        CustodesError: The loss stopped being a number.
    """
    began = time.perf_counter()
    examples = encode_examples(
        model.tokenizer,
        [pair.prompt for pair in pairs],
        [(pair.chosen, pair.rejected) for pair in pairs],
        max_answer=max_answer,
        max_length=options.max_length,
    )
    order = batched_order([example.length for example in examples], options.batch, seed)
    columns = [_columns(examples[i]) for i in order]
    before = model.factors()
    with silenced() as folder:
        from datasets import Dataset

        trainer = _trainer(model, Dataset.from_list(columns), options, folder, seed)
        with prepared(trainer, model, pairs=True) as own:
            sharing = [_sharing_check(model, trainer)] if own else []
            chosen, rejected = _reference(model, trainer, progress)
            trainer.train_dataset = Dataset.from_list(
                [
                    {**row, "ref_chosen_logps": c, "ref_rejected_logps": r}
                    for row, c, r in zip(columns, chosen, rejected, strict=True)
                ]
            )
            logged = fit(trainer, progress, "preference optimisation", preflight=options.preflight)
    series = {
        name: [step[key] for step in logged]
        for name, key in {
            "loss": "loss",
            "grad_norm": "grad_norm",
            "margin": "rewards/margins",
            "accuracy": "rewards/accuracies",
            "chosen_reward": "rewards/chosen",
        }.items()
    }
    return TrainResult(
        method="dpo",
        rows=len(examples),
        left_out=len(pairs) - len(examples),
        tokens=sum(len(e.prompt) * 2 + sum(map(len, e.answers)) for e in examples) * options.epochs,
        trainable=model.trainable,
        data=fingerprint(columns),
        series=series,
        moved=model.moved_from(before),
        controls=[
            _start_check(series["loss"][0], series["margin"][0]),
            _sign_check(series["margin"]),
            gradient_check("dpo", series["grad_norm"], model.trainable),
            *sharing,
        ],
        seconds=time.perf_counter() - began,
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


def _sharing_check(model: LoraModel, trainer: Any) -> dict[str, Any]:
    """Compare a pair in one row, its prompt shared, with its answers in rows of their own."""
    import torch

    batch = trainer.data_collator([trainer.train_dataset[0]])
    with torch.no_grad():
        shared, apart = _sums(model, batch), _sums(model, batch, share_prompts=False)
    tokens = batch["completion_mask"].sum(dim=1)
    off = float(((shared - apart).abs() / tokens).max())
    return check(
        "dpo shares prompts rightly",
        off <= _SHARED_OFF,
        f"log-probabilities of a pair whose prompt is shared differ by {off:.2g} nats a token from "
        f"those of its answers apart (at most {_SHARED_OFF})",
    )


def _start_check(loss: float, margin: float) -> dict[str, Any]:
    return check(
        "dpo starts at its reference",
        abs(loss - math.log(2)) <= _ROUNDING and abs(margin) <= _ROUNDING,
        f"before the first step the loss is {loss:.5f} (must be ln 2 = {math.log(2):.5f}) and the "
        f"mean margin {margin:.5f} (must be 0)",
    )


def _sign_check(margins: Sequence[float]) -> dict[str, Any]:
    late = margins[len(margins) // 2 :]
    mean = sum(late) / len(late)
    return check(
        "dpo prefers the chosen",
        len(margins) > 1 and mean > 0,
        f"over the second half of {len(margins)} steps the mean margin is {mean:+.3f} "
        "(must be positive, and a single step shows none)",
    )
