"""How many steps a training takes, and at which learning rates."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from custodes.preflight.result import NotTestable

if TYPE_CHECKING:
    from custodes.preflight.case import Case

__all__ = ["Schedule", "plan"]

_SIMULATED = 2000  # Steps that are simulated one by one where a scheduler has no formula.


@dataclass(frozen=True)
class Schedule:
    """The training to come.

    Attributes:
        steps: Optimizer steps.
        rates: Learning rate of the first parameter group at some steps: (step, rate).
        peaks: Highest rate of each parameter group, over the whole training.
        configured: Rate of each group before the scheduler scales it.
        complete: Whether `rates` has every step.
        batches: Batches an epoch; None where it has no length.
    """

    steps: int
    rates: list[tuple[int, float]]
    peaks: list[float]
    configured: list[float]
    complete: bool
    batches: int | None


def plan(case: Case) -> Schedule:
    """Make the trainer's optimizer and scheduler, and run the scheduler alone to the end."""
    trainer = case.trainer
    steps, batches = total_steps(trainer)
    optimizer = optimizer_of(trainer)
    configured = [_number(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]
    scheduler = trainer.lr_scheduler
    if scheduler is None:
        trainer.create_scheduler(num_training_steps=max(steps, 1))
        scheduler = trainer.lr_scheduler
    scheduler = getattr(scheduler, "scheduler", scheduler)
    every, complete = _simulate(scheduler, optimizer, max(steps, 1))
    peaks = [max(rates[g] for _, rates in every) for g in range(len(configured))]
    return Schedule(
        steps, [(step, rates[0]) for step, rates in every], peaks, configured, complete, batches
    )


def total_steps(trainer: Any) -> tuple[int, int | None]:
    """Return optimizer steps of the training, and batches an epoch."""
    args = trainer.args
    if getattr(trainer, "train_dataset", None) is None:
        raise NotTestable("the trainer has no train_dataset")
    kept = args.dataloader_num_workers
    args.dataloader_num_workers = 0
    try:
        loader = trainer.get_train_dataloader()
    finally:
        args.dataloader_num_workers = kept
    try:
        batches: int | None = len(loader)
    except TypeError:
        batches = None
    if args.max_steps > 0 or batches is None:
        return int(args.max_steps), batches
    if batches == 0:
        return 0, 0
    a_step = args.gradient_accumulation_steps
    updates = max(batches // a_step + int(batches % a_step > 0), 1)
    whole = args.num_train_epochs * updates
    return int(whole) + int(whole > int(whole)), batches


def optimizer_of(trainer: Any) -> Any:
    """Return the trainer's optimizer below accelerate's wrapper, made where there is none."""
    if trainer.optimizer is None:
        trainer.create_optimizer()
    optimizer = trainer.optimizer
    return getattr(optimizer, "optimizer", optimizer)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) or hasattr(value, "item") else 0.0


def _simulate(
    scheduler: Any, optimizer: Any, steps: int
) -> tuple[list[tuple[int, list[float]]], bool]:
    lambdas = getattr(scheduler, "lr_lambdas", None)
    bases = getattr(scheduler, "base_lrs", None)
    if lambdas and bases and len(lambdas) == len(bases):
        stride = max(steps // 4000, 1)
        at = sorted({*range(0, steps, stride), steps - 1})
        return [
            (t, [b * float(f(t)) for b, f in zip(bases, lambdas, strict=True)]) for t in at
        ], stride == 1
    found = [(0, [_number(group["lr"]) for group in optimizer.param_groups])]
    if type(scheduler).__name__ == "ReduceLROnPlateau":
        return found, False
    for t in range(1, min(steps, _SIMULATED)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scheduler.step()
        found.append((t, [_number(group["lr"]) for group in optimizer.param_groups]))
    return found, steps <= _SIMULATED
