"""One real optimizer step on a few real rows, measured and taken back.

The trainer computes the loss and the gradient, its own optimizer makes the step, at the highest
rate of its schedule. Whether the step did what the method promises is then measured by a forward
pass of our own (`custodes.preflight.measure.forward`): replies likelier, chosen above rejected. The
step is repeated from the same weights and gradient, smaller or larger, until the change stands out
of rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from custodes.preflight.measure.batch import Batch, answers_of, collate
from custodes.preflight.measure.forward import Answer
from custodes.preflight.measure.movement import Movement, fingerprints, movements
from custodes.preflight.measure.optimizer import optimizer_state, reset
from custodes.preflight.measure.positions import watched
from custodes.preflight.measure.schedule import optimizer_of
from custodes.preflight.measure.target import Target, target_of
from custodes.preflight.result import NotTestable

if TYPE_CHECKING:
    from custodes.preflight.case import Case

__all__ = ["Step", "Trial", "average_gradients", "chosen_rows", "models_of", "prepared", "take"]

_SCALES_UP = (10.0, 100.0, 1e3, 1e4, 1e5, 1e6)
_SCALES_DOWN = (0.1, 0.01, 1e-3)


@dataclass(frozen=True)
class Trial:
    """The step at a multiple of the configured rate.

    Attributes:
        scale: Multiple of the highest rate of the schedule.
        change: Of the target, in nats a token or points of a reward model's score.
        chosen: Change of the chosen answers alone, same unit; None where there are no pairs.
        loss: The trainer's own loss after the step, on the same batch; None where not asked.
    """

    scale: float
    change: float
    chosen: float | None
    loss: float | None


@dataclass
class Step:
    """What one step did.

    Attributes:
        loss: The trainer's loss of the batch, as `training_step` returned it.
        metrics: What the trainer noted while computing it.
        gradients: Gradient norm by weight, before clipping; None where there is no gradient.
        total_gradient: Norm of all of them.
        clipped: The same after clipping.
        moved: Each trainable weight across the step at the configured rate.
        frozen_moved: Frozen weights that changed.
        reference_moved: Weights of the reference that changed.
        target: What should rise.
        trials: The step at other rates; the first is the configured one.
        noise: A change of the target smaller than this is rounding.
        loss_before: The trainer's loss in evaluation mode before the step.
        positions: Which tokens of the batch have a gradient, (rows, columns); None if unseen.
        batch: That it was made on.
        answers: The same rows as token ids.
    """

    loss: float
    metrics: dict[str, float]
    gradients: dict[str, float | None]
    total_gradient: float
    clipped: float
    moved: dict[str, Movement]
    frozen_moved: list[str]
    reference_moved: list[str]
    target: Target | None
    trials: list[Trial] = field(default_factory=list)
    noise: float = 0.0
    loss_before: float | None = None
    positions: Any = None
    batch: Batch | None = None
    answers: list[Answer] = field(default_factory=list)
    after: dict[str, Any] = field(default_factory=dict)

    @property
    def decisive(self) -> Trial | None:
        """The smallest step whose effect stands out of rounding."""
        clear = [one for one in self.trials if abs(one.change) >= self.noise]
        return min(clear, key=lambda one: one.scale) if clear else None


def models_of(case: Case) -> list[Any]:
    """Return the trained model, the reference and reward models."""
    trainer = case.trainer
    models = [case.subject.model, getattr(trainer, "ref_model", None)]
    models += [f for f in getattr(trainer, "reward_funcs", []) if isinstance(f, torch.nn.Module)]
    return models


def prepared(case: Case) -> Any:
    """Give the model the precision and checkpointing that training gives it."""
    trainer, args = case.trainer, case.trainer.args
    if case.subject.on_meta:
        raise NotTestable("the model is on the meta device: it has no weights yet")
    for name in ("is_deepspeed_enabled", "is_fsdp_enabled"):
        if getattr(trainer, name, False):
            raise NotTestable(f"under {name[3:-8]} weights are sharded by train() itself")
    if "prepared" in case.notes:
        return case.notes["prepared"]
    model = trainer.model
    if getattr(trainer, "model_wrapped", model) is not model:
        case.notes["prepared"] = trainer.model_wrapped
        return trainer.model_wrapped
    if args.gradient_checkpointing and hasattr(model, "gradient_checkpointing_enable"):
        model.gradient_checkpointing_enable(
            gradient_checkpointing_kwargs=args.gradient_checkpointing_kwargs
        )
    if not any(model is one for one in trainer.accelerator._models):
        model = trainer.accelerator.prepare_model(model, evaluation_mode=True)
        for weight in trainer.model.parameters():
            weight.grad = None
    case.notes["prepared"] = model
    return model


def chosen_rows(case: Case) -> list[dict[str, Any]]:
    """Choose a few short rows: both labels where there are two, and pairs that differ."""
    rows, limits = case.rows, case.limits

    def tokens(row: dict[str, Any]) -> int:
        sizes = [len(v) for k, v in row.items() if k.endswith("_ids") and isinstance(v, list)]
        return sum(sizes) or len(str(row))

    def trains(row: dict[str, Any]) -> bool:
        if "chosen_ids" in row:
            return bool(row["chosen_ids"] != row["rejected_ids"])
        labels = row.get("labels")
        return not isinstance(labels, list) or any(value != -100 for value in labels[1:])

    usable = [row for row in rows if trains(row)] or rows
    usable = sorted(usable, key=tokens)[: max(len(usable) // 2, limits.rows)]
    if case.subject.kind == "kto":
        good = [row for row in usable if row.get("label")]
        bad = [row for row in usable if not row.get("label")]
        half = max(limits.rows // 2, 1)
        usable = [*good[:half], *bad[:half]] or usable
    stride = max(len(usable) // limits.rows, 1)
    chosen: list[dict[str, Any]] = []
    total = 0
    for row in usable[::stride][: limits.rows]:
        total += tokens(row)
        if chosen and total > limits.tokens:
            break
        chosen.append(row)
    if case.subject.kind == "kto" and len(chosen) == 1:
        chosen = usable[:2]
    return chosen


def take(case: Case) -> Step:
    """Take one step, measure it, and put the weights back."""
    if case.subject.online:
        from custodes.preflight.measure.rollout import rollout_batch

        model = prepared(case)
        inputs, answers, batch = rollout_batch(case)
    else:
        rows = chosen_rows(case)
        batch = collate(case, rows)
        model = prepared(case)
        inputs = batch.inputs
        try:
            answers = answers_of(case.subject, rows)
        except NotTestable:
            answers = [
                Answer(
                    tuple(line.ids),
                    tuple(line.trained),
                    -1 if line.role == "rejected" else 1,
                    line.source,
                )
                for line in batch.lines
            ]
    return measured(case, model, inputs, batch, answers)


def measured(
    case: Case, model: Any, inputs: dict[str, Any], batch: Batch | None, answers: list[Answer]
) -> Step:
    """Compute the gradient with the trainer, step with its optimizer, and measure."""
    trainer = case.trainer
    schedule = case.schedule
    optimizer = optimizer_of(trainer)
    weights = _trained(case.subject.model, optimizer)
    # The snapshot has a copy of each trained weight already: no second one.
    kept = case.snapshot.copies()
    before = {id(w): kept[id(w)] if id(w) in kept else w.detach().clone() for w in weights.values()}
    prints = fingerprints(*models_of(case))
    target = target_of(case, answers)
    start = target.measure() if target is not None else None
    loss_before = _loss(case, model, inputs)
    for weight in weights.values():
        weight.grad = None
    _metrics(trainer, clear=True)
    with watched(case.subject.base) as watch:
        loss = _train(trainer, model, inputs)
    average_gradients(trainer, weights.values())
    shape = _shape(inputs)
    step = Step(
        loss=loss,
        metrics=_metrics(trainer),
        gradients={n: _norm(w.grad) for n, w in weights.items()},
        total_gradient=_total(weights),
        clipped=0.0,
        moved={},
        frozen_moved=[],
        reference_moved=[],
        target=target,
        loss_before=loss_before,
        positions=watch.trained(shape) if shape else None,
        batch=batch,
        answers=answers,
    )
    _clip(trainer, weights)
    step.clipped = _total(weights)
    state = optimizer_state(optimizer)

    def go(scale: float) -> None:
        reset(optimizer, state, weights, before)
        for group, peak in zip(optimizer.param_groups, schedule.peaks, strict=True):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(peak * scale)
            elif group["lr"] is not None:
                group["lr"] = peak * scale
        optimizer.step()

    try:
        go(1.0)
        step.moved = movements(weights, before)
        now = fingerprints(*models_of(case))
        changed = [name for name, value in prints.items() if now.get(name) != value]
        step.frozen_moved = [name[2:] for name in changed if name.startswith("0:")]
        step.reference_moved = [name[2:] for name in changed if not name.startswith("0:")]
        _search(case, step, model, inputs, start, go)
    finally:
        reset(optimizer, state, weights, before)
        for weight in weights.values():
            weight.grad = None
    return step


def _search(
    case: Case,
    step: Step,
    model: Any,
    inputs: dict[str, Any],
    start: torch.Tensor | None,
    go: Callable[[float], None],
) -> None:
    """Repeat the step at other rates until its effect stands out of rounding."""
    target = step.target
    if target is None or start is None or not any(case.schedule.peaks):
        step.trials.append(Trial(1.0, 0.0, None, _loss(case, model, inputs)))
        return
    step.noise = target.noise

    def tried(scale: float) -> Trial:
        value = target.measure()
        change, chosen = target.change(start, value)
        trial = Trial(scale, change, chosen, _loss(case, model, inputs))
        step.trials.append(trial)
        return trial

    first = tried(1.0)
    if abs(first.change) < step.noise:
        for scale in _SCALES_UP:
            go(scale)
            if abs(tried(scale).change) >= step.noise or not math.isfinite(step.trials[-1].change):
                break
    elif first.change < 0 or abs(first.change) > target.large:
        for scale in _SCALES_DOWN:
            go(scale)
            trial = tried(scale)
            if step.noise <= abs(trial.change) <= target.large:
                break
    decisive = step.decisive
    if decisive is not None:
        go(decisive.scale)
        for name, look in case.notes.get("after", {}).items():
            step.after[name] = look()


def _train(trainer: Any, model: Any, inputs: dict[str, Any]) -> float:
    trainer.current_gradient_accumulation_steps = 1
    items = trainer._get_num_items_in_batch([inputs], trainer.args.device)
    return float(trainer.training_step(model, dict(inputs), items).detach())


@torch.no_grad()
def _loss(case: Case, model: Any, inputs: dict[str, Any]) -> float | None:
    """Return the trainer's loss without dropout; None where a policy's own step resets it."""
    if case.subject.online:
        return None
    trainer = case.trainer
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    state = torch.get_rng_state()
    try:
        batch = trainer._prepare_inputs(dict(inputs))
        items = trainer._get_num_items_in_batch([inputs], trainer.args.device)
        with trainer.compute_loss_context_manager():
            return float(trainer.compute_loss(model, batch, num_items_in_batch=items))
    except Exception:
        return None
    finally:
        torch.set_rng_state(state)
        for module, mode in modes:
            module.training = mode


def _trained(model: Any, optimizer: Any) -> dict[str, torch.nn.Parameter]:
    """Return trainable weights, and whatever else the optimizer holds."""
    weights = {n: p for n, p in model.named_parameters() if p.requires_grad}
    names = {id(p): n for n, p in model.named_parameters()}
    for place, group in enumerate(optimizer.param_groups):
        for index, weight in enumerate(group["params"]):
            weights.setdefault(names.get(id(weight), f"optimizer.{place}.{index}"), weight)
    if not weights:
        raise NotTestable("no weight is trainable (see trainable-weights)")
    return weights


def average_gradients(trainer: Any, weights: Iterable[torch.nn.Parameter]) -> None:
    """Average gradients over the processes, as DDP does."""
    if trainer.accelerator.num_processes == 1:
        return
    for weight in weights:
        if weight.grad is not None:
            weight.grad = trainer.accelerator.reduce(weight.grad, reduction="mean")


def _clip(trainer: Any, weights: dict[str, torch.nn.Parameter]) -> None:
    limit = trainer.args.max_grad_norm
    if limit is not None and limit > 0:
        torch.nn.utils.clip_grad_norm_([w for w in weights.values() if w.grad is not None], limit)


def _norm(gradient: torch.Tensor | None) -> float | None:
    return None if gradient is None else float(gradient.float().norm())


def _total(weights: dict[str, torch.nn.Parameter]) -> float:
    norms = [_norm(w.grad) or 0.0 for w in weights.values()]
    return math.sqrt(sum(n * n for n in norms))


def _shape(inputs: dict[str, Any]) -> tuple[int, int] | None:
    ids = inputs.get("input_ids")
    if ids is None and "prompt_ids" in inputs and "completion_ids" in inputs:
        return (
            int(inputs["prompt_ids"].shape[0]),
            int(inputs["prompt_ids"].shape[1] + inputs["completion_ids"].shape[1]),
        )
    return None if ids is None or ids.ndim != 2 else (int(ids.shape[0]), int(ids.shape[1]))


def _metrics(trainer: Any, *, clear: bool = False) -> dict[str, float]:
    kept = getattr(trainer, "_metrics", None)
    if not isinstance(kept, dict):
        return {}
    train = kept.get("train", kept)
    if clear:
        for values in (train, kept.get("eval", {})):
            values.clear()
        return {}
    return {
        name: float(values[-1])
        for name, values in train.items()
        if isinstance(values, list) and values
    }
