"""Checks on the training to come: how many steps, at which rates."""

from __future__ import annotations

import math

from custodes.preflight.case import Case
from custodes.preflight.measure.schedule import optimizer_of
from custodes.preflight.registry import check, failed, not_tested, verdict
from custodes.preflight.result import NotTestable, Verdict

__all__: list[str] = []


@check(
    "schedule-steps",
    "data",
    expected="at least one optimizer step, and fewer gradients accumulated than an epoch has "
    "batches",
    remedy="raise max_steps or num_train_epochs; lower per_device_train_batch_size or "
    "gradient_accumulation_steps; dataloader_drop_last drops an incomplete batch",
    reference="docs/guide/preflight.md",
)
def schedule_steps(case: Case) -> Verdict:
    """The training has steps."""
    schedule = case.schedule
    accumulation = case.subject.args.gradient_accumulation_steps
    figures = {"steps": schedule.steps, "batches": schedule.batches, "accumulation": accumulation}
    if schedule.steps < 1:
        return failed(
            f"the training has {schedule.steps} optimizer steps ({schedule.batches} batches an "
            f"epoch, {case.subject.args.num_train_epochs:g} epochs)",
            **figures,
        )
    return verdict(True, f"{schedule.steps} optimizer steps", **figures)


@check(
    "schedule-rate",
    "data",
    expected="a rate above 0 in at least half of the steps, and a warm-up shorter than the "
    "training",
    remedy="check learning_rate, lr_scheduler_type, warmup_steps and max_steps: the scheduler "
    "counts optimizer steps",
    reference="docs/guide/preflight.md",
)
def schedule_rate(case: Case) -> Verdict:
    """The learning rate is above 0 while it trains, and reaches what was configured."""
    schedule = case.schedule
    rates = [rate for _, rate in schedule.rates]
    if schedule.steps < 1:
        raise NotTestable("there are no steps")
    peak, configured = max(schedule.peaks), max(schedule.configured)
    above = sum(rate > 0 for rate in rates) / len(rates)
    reached = peak / configured if configured else 0.0
    best = max(range(len(rates)), key=lambda t: rates[t])
    figures = {
        "peak": peak,
        "configured": configured,
        "first": rates[0],
        "last": rates[-1],
        "share_above_zero": round(above, 4),
        "step_of_peak": schedule.rates[best][0],
        "steps": schedule.steps,
    }
    text = (
        f"the rate is above 0 in {above:.0%} of {schedule.steps} steps, highest {peak:.3g} of "
        f"{configured:.3g} at step {schedule.rates[best][0]}"
    )
    if not math.isfinite(peak) or peak <= 0 or min(rates) < 0:
        return failed(text, **figures)
    # One or two steps, warm-up included, are a trial run and not a schedule.
    short = schedule.steps <= 2
    warm = getattr(case.subject.args, "get_warmup_steps", None)
    warming = warm(schedule.steps) if warm is not None else 0
    never = warming >= schedule.steps and schedule.steps > 1
    return verdict(
        not never and (short or above >= 0.5) and (reached >= 0.5 or short),
        text,
        warmup=warming,
        **figures,
    )


@check(
    "weight-decay",
    "data",
    expected="weight decay alone shrinks the weights by less than half over the whole training",
    remedy="lower weight_decay (0 to 0.1 is usual) or learning_rate",
    reference="Loshchilov and Hutter, arXiv:1711.05101",
)
def weight_decay(case: Case) -> Verdict:
    """Weight decay does not erase the model."""
    schedule = case.schedule
    optimizer = optimizer_of(case.trainer)
    rates = [rate for _, rate in schedule.rates]
    mean = sum(rates) / len(rates) / max(schedule.configured[0], 1e-30) if rates else 0.0
    worst = 0.0
    for group, rate in zip(optimizer.param_groups, schedule.configured, strict=True):
        decay = float(group.get("weight_decay", 0.0) or 0.0)
        worst = max(worst, abs(decay) * rate * mean * max(schedule.steps, 1))
        if decay < 0:
            return failed(f"weight_decay is {decay}: the weights would grow", weight_decay=decay)
    left = math.exp(-worst)
    return verdict(
        left > 0.5,
        f"over {schedule.steps} steps weight decay alone leaves {left:.1%} of the weights",
        left=left,
    )


@check(
    "optimizer-weights",
    "data",
    expected="every trainable weight is in the optimizer once, and nothing else is",
    remedy="make the optimizer after the model has its adapters and is on its device; pass no "
    "optimizer that was made for another copy of the model",
    reference="huggingface/peft#282",
)
def optimizer_weights(case: Case) -> Verdict:
    """The optimizer holds the trainable weights, all of them, and only those."""
    model = case.subject.model
    optimizer = optimizer_of(case.trainer)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    if hasattr(optimizer, "optimizer_dict"):
        raise NotTestable("a layer-wise optimizer holds its weights elsewhere")
    ids = [id(p) for p in held]
    own = {id(p): name for name, p in model.named_parameters()}
    trainable = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    missing = [name for key, name in trainable.items() if key not in set(ids)]
    frozen = [own[key] for key in ids if key in own and key not in trainable]
    strange = sum(key not in own for key in ids)
    twice = len(ids) - len(set(ids))
    figures = {
        "held": len(ids),
        "trainable": len(trainable),
        "missing": missing[:5],
        "frozen": frozen[:5],
        "strange": strange,
        "twice": twice,
    }
    return verdict(
        bool(trainable) and not (missing or strange or twice or frozen),
        f"the optimizer holds {len(ids)} tensors of {len(trainable)} trainable ones: "
        f"{len(missing)} missing, {len(frozen)} frozen, {strange} of another model, {twice} twice",
        **figures,
    )


@check(
    "beta-sign",
    "data",
    kinds=("dpo", "kto", "grpo", "rloo"),
    expected="beta ≥ 0 (above 0 for DPO and KTO), and loss weights of which none is negative",
    remedy="set beta to a positive number; a negative one rewards leaving the reference",
    reference="huggingface/trl#235; huggingface/trl#1005",
)
def beta_sign(case: Case) -> Verdict:
    """The strength of the KL penalty has the right sign."""
    beta = getattr(case.trainer, "beta", getattr(case.subject.args, "beta", None))
    if not isinstance(beta, int | float):
        raise NotTestable("the trainer has no beta")
    weights = getattr(case.subject.args, "loss_weights", None) or []
    good = beta > 0 if case.subject.kind in ("dpo", "kto") else beta >= 0
    good = good and math.isfinite(beta) and not any(w < 0 for w in weights)
    return verdict(good, f"beta is {beta:g}, loss weights {list(weights)}", beta=beta)


@check(
    "learning-rate-size",
    "step",
    expected="a rate that moves no weight by more than its own size in one step",
    remedy="lower learning_rate (full fine-tuning 1e-6 to 1e-4, LoRA 1e-5 to 1e-3)",
    reference="docs/guide/preflight.md",
)
def learning_rate_size(case: Case) -> Verdict:
    """The highest rate of the schedule is not absurd."""
    step = case.step
    worst, name = 0.0, ""
    for weight, one in step.moved.items():
        if one.size > 1e-6 and one.elements > 64 and one.change / one.size > worst:
            worst, name = one.change / one.size, weight
    if not name:
        return not_tested("all trainable weights are 0 before the first step, as LoRA's B is")
    return verdict(
        worst <= 1.0,
        f"one step moves {name} by {worst:.2g} times its own size",
        ratio=worst,
        weight=name,
        rate=max(case.schedule.peaks),
    )
