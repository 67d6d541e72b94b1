"""Checks on one real optimizer step: it runs, gradients arrive, weights move."""

from __future__ import annotations

import math

from custodes.preflight.case import Case
from custodes.preflight.registry import check, failed, not_tested, passed, verdict
from custodes.preflight.result import NotTestable, Verdict

__all__: list[str] = []


@check(
    "step-runs",
    "step",
    expected="loss, gradient and optimizer step run on real rows",
    remedy="read the error: the same one would stop train() at its first step",
    reference="huggingface/trl#6700",
)
def step_runs(case: Case) -> Verdict:
    """One step runs."""
    try:
        step = case.step
    except NotTestable as error:
        for name in ("step", "rollouts", "schedule", "batch"):
            cause = case.failure(name)
            if cause is not None and not isinstance(cause, NotTestable):
                return failed(f"the step failed: {error}")
        raise
    return passed(f"loss {step.loss:.4g}, gradient norm {step.total_gradient:.3g}", loss=step.loss)


@check(
    "loss-finite",
    "step",
    expected="a loss and a gradient that are finite, and a gradient above 0",
    remedy="look at labels that are all -100, rewards without variance, float16, or a detached "
    "loss",
    reference="huggingface/trl#6668",
)
def loss_finite(case: Case) -> Verdict:
    """Loss and gradient are numbers, and there is a gradient."""
    step = case.step
    good = math.isfinite(step.loss) and math.isfinite(step.total_gradient)
    return verdict(
        good and step.total_gradient > 1e-10,
        f"loss {step.loss:.4g}, gradient norm {step.total_gradient:.3g}",
        loss=step.loss,
        gradient=step.total_gradient,
    )


@check(
    "gradient-reaches",
    "step",
    expected="a gradient at every trainable tensor, apart from those that another one multiplies "
    "by 0",
    remedy="check requires_grad, detach(), torch.no_grad() and enable_input_require_grads with "
    "gradient checkpointing (use_reentrant=False)",
    reference="huggingface/transformers#42489; locuslab/open-unlearning#178",
)
def gradient_reaches(case: Case) -> Verdict:
    """The gradient arrives at everything that is trainable."""
    gradients = case.step.gradients
    groups: dict[str, list[float | None]] = {}
    for name, norm in gradients.items():
        # LoRA's A has no gradient while B is 0: together they must have one.
        stem = name.split(".lora_")[0] if ".lora_" in name else name
        groups.setdefault(stem, []).append(norm)
    without = [s for s, norms in groups.items() if not any(norms)]
    share = len(without) / max(len(groups), 1)
    experts = [s for s in without if "expert" in s]
    without = [s for s in without if s not in experts]
    return verdict(
        len(without) / max(len(groups), 1) <= 0.02,
        f"{len(without)} of {len(groups)} trainable modules get no gradient"
        + (f", e.g. {without[0]}" if without else ""),
        without=without[:8],
        modules=len(groups),
        share=round(share, 4),
    )


@check(
    "weights-move",
    "step",
    expected="every trainable module moves when the optimizer steps",
    remedy="check that the optimizer holds the trainable weights, learning_rate > 0, and the "
    "dtype; "
    "a logged grad_norm says nothing about this",
    reference="huggingface/trl#6700",
)
def weights_move(case: Case) -> Verdict:
    """The optimizer's step changes the weights."""
    moved = case.step.moved
    groups: dict[str, bool] = {}
    for name, one in moved.items():
        stem = name.split(".lora_")[0] if ".lora_" in name else name
        groups[stem] = groups.get(stem, False) or one.moved > 0
    still = [s for s, on in groups.items() if not on and "expert" not in s]
    elements = sum(one.elements for one in moved.values())
    changed = sum(one.moved for one in moved.values())
    figures = {
        "moved_elements": round(changed / max(elements, 1), 6),
        "still": still[:8],
        "modules": len(groups),
        "rate": max(case.schedule.peaks, default=0.0),
    }
    low = [one for one in moved.values() if one.dtype != "float32"]
    text = (
        f"at a rate of {figures['rate']:.3g} {changed:,} of {elements:,} elements change; "
        f"{len(still)} of {len(groups)} modules stay as they are"
    )
    if low and changed:
        # Rounding to 16 bits is a check of its own: "precision".
        return passed(text, **figures)
    return verdict(bool(changed) and len(still) <= 0.02 * len(groups), text, **figures)


@check(
    "precision",
    "step",
    expected="at least 20% of the elements that have a gradient change",
    remedy="keep the trained weights in float32 (dtype=float32 with bf16=True, or adapters in "
    "float32), raise learning_rate, or use an optimizer with stochastic rounding",
    reference="pytorch/ao#1124; pytorch/torchtune#2254",
)
def precision(case: Case) -> Verdict:
    """The step is not lost in rounding."""
    moved = [one for one in case.step.moved.values() if one.reached]
    if not moved:
        raise NotTestable("no weight has a gradient")
    reached = sum(one.reached for one in moved)
    changed = sum(min(one.moved, one.reached) for one in moved)
    share = changed / reached
    kinds = sorted({one.dtype for one in moved})
    return verdict(
        share >= 0.2,
        f"{share:.1%} of the elements with a gradient change in one step at a rate of "
        f"{max(case.schedule.peaks):.3g} ({', '.join(kinds)})",
        share=share,
        dtypes=kinds,
    )


@check(
    "update-size",
    "step",
    expected="an update of about the learning rate per element, as Adam's first one is",
    remedy="raise max_grad_norm, or check adam_epsilon and a gradient of nearly 0",
    reference="Kingma and Ba, arXiv:1412.6980",
)
def update_size(case: Case) -> Verdict:
    """The update is as large as the rate says."""
    from custodes.preflight.measure.schedule import optimizer_of

    optimizer = optimizer_of(case.trainer)
    if type(optimizer).__name__ not in ("AdamW", "Adam"):
        return not_tested(f"{type(optimizer).__name__} does not scale its update to the rate")
    if optimizer.state:
        return not_tested("the optimizer has moments of earlier steps")
    moved = [one for one in case.step.moved.values() if one.reached and one.dtype == "float32"]
    rate = max(case.schedule.peaks)
    if not moved or rate <= 0:
        raise NotTestable("no float32 weight has a gradient")
    reached = sum(one.reached for one in moved)
    size = math.sqrt(sum(one.change**2 * one.reached for one in moved) / reached)
    return verdict(
        size / rate > 0.05,
        f"the update is {size / rate:.3g} of the rate (gradient norm "
        f"{case.step.total_gradient:.3g}, "
        f"{case.step.clipped:.3g} after clipping)",
        ratio=size / rate,
        gradient=case.step.total_gradient,
        clipped=case.step.clipped,
    )


@check(
    "frozen-weights-stay",
    "step",
    expected="weights that are frozen, and all of the reference, stay as they are",
    remedy="look for the reference sharing tensors with the policy, or an optimizer that holds it",
    reference="huggingface/trl#3397; NVIDIA/NeMo-Aligner#227",
)
def frozen_weights_stay(case: Case) -> Verdict:
    """Frozen weights and the reference do not move with the step."""
    step = case.step
    model = case.subject.model
    other = getattr(case.trainer, "ref_model", None)
    shared = []
    if other is not None:
        mine = {p.data_ptr() for p in model.parameters() if p.requires_grad and p.numel()}
        shared = [n for n, p in other.named_parameters() if p.numel() and p.data_ptr() in mine]
    changed = [*step.frozen_moved, *step.reference_moved]
    return verdict(
        not changed and not shared,
        f"{len(step.frozen_moved)} frozen tensors and {len(step.reference_moved)} of the reference "
        f"changed; the reference shares {len(shared)} tensors with what is trained",
        changed=changed[:8],
        shared=shared[:8],
    )
