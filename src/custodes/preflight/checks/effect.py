"""Checks on the effect of a step, by a forward pass of our own."""

from __future__ import annotations

import math

from custodes.preflight.case import Case
from custodes.preflight.measure.forward import log_probs
from custodes.preflight.registry import check, failed, not_tested, verdict
from custodes.preflight.result import NotTestable, Verdict

__all__: list[str] = []


@check(
    "step-helps",
    "step",
    expected="one small step raises what the method promises: the replies' log-probability (SFT), "
    "chosen over rejected (DPO, reward), desirable over undesirable (KTO), better- over "
    "worse-rewarded completions (GRPO, RLOO)",
    remedy="look for a sign: beta, reward_weights, loss weights, maximize=True, a custom "
    "compute_loss, "
    "labels that are shifted or belong to another row",
    reference="NVlabs/alpamayo-recipes#29; huggingface/trl#2714",
)
def step_helps(case: Case) -> Verdict:
    """A real step moves the model in the direction that the method is for."""
    step = case.step
    target = step.target
    if target is None:
        return not_tested("this model predicts no tokens: see loss-falls")
    if "discopop" in (getattr(case.trainer, "loss_types", None) or []):
        # With its default temperature the published loss rises with the margin at margin 0.
        return not_tested("DiscoPOP's gradient lowers the margin at the start, by its formula")
    trial = step.decisive
    if trial is None:
        changes = ", ".join(f"{t.change:.2g}" for t in step.trials)
        if step.total_gradient <= 1e-10:
            return not_tested("there is no gradient (see loss-finite)")
        return failed(f"even a much larger step leaves the {target.name} as it is ({changes})")
    if not math.isfinite(trial.change):
        return failed(f"after a step the {target.name} is {trial.change}")
    figures = {
        "change": trial.change,
        "scale": trial.scale,
        "chosen": trial.chosen,
        "trials": [[t.scale, t.change] for t in step.trials],
    }
    more = f"; the chosen ones alone {trial.chosen:+.3g}" if trial.chosen is not None else ""
    return verdict(
        trial.change > 0,
        f"a step at {trial.scale:g} × the rate changes the {target.name} by {trial.change:+.3g} "
        f"{target.unit}{more}",
        **figures,
    )


@check(
    "loss-falls",
    "step",
    kinds=("sft", "dpo", "kto", "reward", "plain"),
    expected="the trainer's own loss on the same rows is lower after a small step",
    remedy="look for maximize=True, a negated loss, or a gradient that is not the loss's",
    reference="huggingface/trl#2714",
)
def loss_falls(case: Case) -> Verdict:
    """The trainer's loss falls where the step went."""
    step = case.step
    trial = step.decisive or (step.trials[0] if step.trials else None)
    if trial is None or trial.loss is None or step.loss_before is None:
        return not_tested("the trainer's loss could not be computed without training")
    if getattr(case.subject.args, "loss_type", "") == "dft":
        return not_tested("DFT weighs tokens by their probability: its value may rise")
    change = trial.loss - step.loss_before
    rounding = 1e-6 * max(abs(step.loss_before), 1.0)
    figures = {"before": step.loss_before, "after": trial.loss, "scale": trial.scale}
    if step.total_gradient <= 1e-10 or (abs(change) < rounding and step.decisive is None):
        return not_tested(f"the loss changes by {change:+.2g}, which is rounding", **figures)
    return verdict(
        change < rounding,
        f"the trainer's loss goes from {step.loss_before:.5g} to {trial.loss:.5g}",
        **figures,
    )


@check(
    "step-overshoots",
    "step",
    expected="a step at the highest rate of the schedule does not undo what a small one gains",
    remedy="lower learning_rate",
    reference="docs/guide/preflight.md",
)
def step_overshoots(case: Case) -> Verdict:
    """The configured rate is not so high that the first step spoils the model."""
    step = case.step
    if step.target is None or step.decisive is None:
        return not_tested("the effect of the step was not measured")
    first = step.trials[0]
    small = step.decisive
    if small.scale >= 1.0:
        return verdict(True, "the effect at the configured rate is small", change=first.change)
    return verdict(
        not (small.change > 0 > first.change) and math.isfinite(first.change),
        f"at the configured rate the {step.target.name} changes by {first.change:+.3g}, at "
        f"{small.scale:g} × of it by {small.change:+.3g} {step.target.unit}",
        full=first.change,
        small=small.change,
        scale=small.scale,
    )


@check(
    "loss-agrees",
    "step",
    dear=True,
    kinds=("sft", "plain"),
    expected="the trainer's loss is the mean negative log-probability of the trained tokens, "
    "computed apart",
    remedy="look at compute_loss, at a shift of the labels, at label smoothing and temperature",
    reference="huggingface/transformers#34191",
)
def loss_agrees(case: Case) -> Verdict:
    """The trainer's loss is that of the tokens that its labels mark."""
    step = case.step
    args = case.subject.args
    if not case.subject.causal or step.batch is None or not step.batch.lines:
        raise NotTestable("the loss of this model is not that of tokens")
    if getattr(args, "loss_type", "nll") not in ("nll", "chunked_nll", None):
        return not_tested(f"loss_type {args.loss_type!r} is another loss")
    if getattr(args, "label_smoothing_factor", 0.0) or step.loss_before is None:
        return not_tested("label smoothing makes it another loss")
    if getattr(case.trainer, "aux_loss_enabled", False):
        return not_tested("the loss has a router term")
    from custodes.preflight.measure.forward import Answer

    marked = [
        Answer(tuple(line.ids), (False, *line.trained[1:]))
        for line in step.batch.lines
        if any(line.trained[1:])
    ]
    if not marked:
        return not_tested("no token is trained")
    nats = log_probs(case.subject.model, marked, pad=case.pad, autocast=case.autocast)
    own = -float(sum(row.sum() for row in nats)) / sum(len(row) for row in nats)
    off = abs(own - step.loss_before) / max(abs(own), 1e-6)
    module = _overridden(case)
    figures = {"trainer": step.loss_before, "own": own, "relative": off}
    text = f"the trainer's loss is {step.loss_before:.5g}, computed apart it is {own:.5g}"
    if module and off > 0.05 and step.loss_before > 0:
        return not_tested(f"{text}; compute_loss is {module}'s own, so it may differ", **figures)
    return verdict(off <= 0.05, text, **figures)


def _overridden(case: Case) -> str:
    """Return the module of a compute_loss that no library wrote, or ""."""
    if getattr(case.trainer, "compute_loss_func", None) is not None:
        return "compute_loss_func"
    for base in type(case.trainer).__mro__:
        if "compute_loss" in vars(base):
            module = base.__module__
            return "" if module.split(".")[0] in ("trl", "transformers", "custodes") else module
    return ""
