"""Checks on the reference: training starts at it, and the penalty points back to it."""

from __future__ import annotations

import torch

from custodes.preflight.case import Case
from custodes.preflight.measure.forward import log_probs
from custodes.preflight.measure.rollout import perturbed
from custodes.preflight.registry import check, not_tested, verdict
from custodes.preflight.result import NotTestable, Verdict

__all__: list[str] = []


def _bound(case: Case) -> float:
    """Rounding of a log-probability, in nats a token."""
    target = case.step.target
    return 0.05 if target is not None and target.noise > 1e-3 else 2e-3


@check(
    "reference-is-start",
    "step",
    kinds=("dpo", "kto", "grpo", "rloo"),
    expected="before the first step policy and reference give the same log-probabilities: "
    "rewards 0, "
    "KL 0, DPO's loss ln 2",
    remedy="pass ref_model=None, or the model that training starts from; full fine-tuning "
    "reloads the "
    "reference from config._name_or_path; check precomputed ref_logps and the 'ref' adapter",
    reference="huggingface/trl#3397; NVIDIA/NeMo-Aligner#227",
)
def reference_is_start(case: Case) -> Verdict:
    """The reference is the model that training starts from."""
    step = case.step
    metrics = dict(step.metrics)
    if case.subject.online:
        metrics = {**case.rollouts.metrics, **metrics}
        if not getattr(case.trainer, "beta", 0.0):
            return not_tested("beta is 0: there is no reference")
        if "kl" not in metrics:
            raise NotTestable("the trainer notes no KL")
        tokens = 1.0
        off = abs(metrics["kl"])
        bound = 1e-4 if _bound(case) < 0.01 else 5e-3
        own = _own_gap(case)
        text = f"before the first step the trainer's KL is {metrics['kl']:.2g} nats a token"
    else:
        if getattr(case.trainer, "reference_free", False):
            return not_tested("reference_free: there is no reference")
        beta = abs(float(getattr(case.trainer, "beta", 0.1))) or 1.0
        values = [abs(v) for k, v in metrics.items() if k in ("rewards/chosen", "rewards/rejected")]
        if not values:
            raise NotTestable("the trainer notes no rewards")
        tokens = max(sum(one.tokens for one in step.answers) / max(len(step.answers), 1), 1)
        off = max(values) / beta / tokens
        bound = _bound(case)
        own = _own_gap(case)
        text = (
            f"before the first step the implicit rewards are {max(values):.3g} (loss "
            f"{step.loss:.5g}), {off:.2g} nats a token"
        )
    figures = {"difference": off, "own": own, "bound": bound, "loss": step.loss}
    if own is not None:
        text += f"; log-probabilities of policy and reference differ by {own:.2g} nats a token"
    return verdict(
        off <= bound and (own is None or own <= max(bound, _bound(case))), text, **figures
    )


def _own_gap(case: Case) -> float | None:
    """Return how far policy and reference model are apart, in nats a token, at most over rows."""
    other = getattr(case.trainer, "ref_model", None)
    answers = [one for one in case.step.answers if one.tokens]
    if other is None or not answers:
        return None
    mine = log_probs(case.subject.model, answers, pad=case.pad, autocast=case.autocast)
    theirs = log_probs(other, answers, pad=case.pad, autocast=case.autocast)
    return max(float((a - b).abs().mean()) for a, b in zip(mine, theirs, strict=True))


@check(
    "kl-sign",
    "step",
    kinds=("grpo",),
    expected="leaving the reference makes the loss higher",
    remedy="set beta ≥ 0, and check the sign of the KL term in a custom loss",
    reference="huggingface/trl#235; huggingface/trl#1005",
)
def kl_sign(case: Case) -> Verdict:
    """With all advantages 0, disturbed weights have a higher loss than the reference's."""
    if not getattr(case.trainer, "beta", 0.0):
        return not_tested("beta is 0: there is no KL term")
    rollouts = case.rollouts
    inputs = dict(rollouts.inputs)
    if "ref_per_token_logps" not in inputs:
        return not_tested("the loss gets no log-probabilities of a reference")
    inputs["advantages"] = torch.zeros_like(inputs["advantages"])
    trainer = case.trainer
    model = case.notes.get("prepared", trainer.model)

    def loss() -> float:
        with torch.no_grad(), trainer.compute_loss_context_manager():
            return float(trainer.compute_loss(model, dict(inputs)))

    trainer.current_gradient_accumulation_steps = 1
    before = loss()
    with perturbed(case):
        after = loss()
    return verdict(
        after > before + 1e-9,
        f"with advantages of 0 the loss is {before:.3g} at the start and {after:.3g} at disturbed "
        "weights",
        before=before,
        after=after,
    )


@check(
    "logps-agree",
    "step",
    dear=True,
    kinds=("dpo", "kto", "grpo", "rloo"),
    expected="the trainer's log-probabilities of replies are those of a forward pass apart, at the "
    "temperature that samples",
    remedy="look at temperature, at the completion mask, at the padding side and position ids",
    reference="huggingface/trl#3029; huggingface/trl#4163; volcengine/verl#3287",
)
def logps_agree(case: Case) -> Verdict:
    """The trainer's log-probabilities are right."""
    step = case.step
    bound = _bound(case)
    if case.subject.online:
        return _rollout_logps(case, bound)
    nats = log_probs(case.subject.model, step.answers, pad=case.pad, autocast=case.autocast)
    if len(nats) != len(step.answers) or case.subject.kind not in ("dpo", "kto"):
        raise NotTestable("no log-probabilities to compare")
    if set(getattr(case.trainer, "loss_types", []) or []) & {"ipo", "sigmoid_norm"}:
        return not_tested("this loss divides log-probabilities by the reply's length")
    worst, figures = 0.0, {}
    for sign, name in ((1, "logps/chosen"), (-1, "logps/rejected")):
        picked = [
            row.double().sum()
            for row, one in zip(nats, step.answers, strict=True)
            if one.sign == sign
        ]
        tokens = [one.tokens for one in step.answers if one.sign == sign]
        if not picked or name not in step.metrics:
            continue
        own = float(torch.stack(picked).mean())
        off = abs(own - step.metrics[name]) / max(sum(tokens) / len(tokens), 1)
        figures[name] = {"trainer": step.metrics[name], "own": own}
        worst = max(worst, off)
    if not figures:
        return not_tested("the trainer notes no log-probabilities")
    return verdict(
        worst <= bound * 5,
        f"log-probabilities of replies differ by {worst:.2g} nats a token from those computed "
        "apart",
        difference=worst,
        **figures,
    )


def _rollout_logps(case: Case, bound: float) -> Verdict:
    rollouts = case.rollouts
    inputs = rollouts.inputs
    trainer = case.trainer
    method = getattr(trainer, "_get_per_token_logps_and_entropies", None)
    if method is None:
        raise NotTestable("the trainer has no method for log-probabilities of tokens")
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    model = case.notes.get("prepared", trainer.model)
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            theirs = method(model, ids, mask, inputs["completion_ids"].shape[1])[0].float().cpu()
    finally:
        for module, mode in modes:
            module.training = mode
    own = log_probs(
        case.subject.model,
        rollouts.answers,
        pad=case.pad,
        autocast=case.autocast,
        temperature=float(case.subject.args.temperature),
    )
    gaps = [
        float((row - theirs[i, : len(row)]).abs().mean())
        for i, row in enumerate(own)
        if len(row) and len(row) == int(inputs["completion_mask"][i].sum())
    ]
    if not gaps:
        return not_tested("no completion has tokens")
    absolute = _absolute_positions(case)
    worst = max(gaps)
    if absolute and worst > bound * 5:
        return not_tested(
            f"they differ by {worst:.2g}, but this model has absolute positions, which left "
            "padding moves"
        )
    return verdict(
        worst <= bound * 5,
        f"log-probabilities of completions differ by {worst:.2g} nats a token from those computed "
        f"apart at temperature {float(case.subject.args.temperature):g}",
        difference=worst,
    )


def _absolute_positions(case: Case) -> bool:
    return bool(getattr(case.subject.base.config, "model_type", "") in ("gpt2", "gpt_neo", "opt"))
