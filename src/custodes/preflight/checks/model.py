"""Checks on the model before the step: values, adapters, modes."""

from __future__ import annotations

import torch

from custodes.preflight.case import Case
from custodes.preflight.registry import check, failed, not_tested, passed, verdict
from custodes.preflight.result import NotTestable, Verdict

__all__: list[str] = []


def _has_weights(case: Case) -> None:
    if case.subject.on_meta:
        raise NotTestable("the model is on the meta device: it has no weights yet")


@check(
    "weights-finite",
    "step",
    expected="no weight is NaN or infinite, and no tensor that should not be is all zeros",
    remedy="load the checkpoint again; float16 overflows where bfloat16 does not",
    reference="docs/guide/preflight.md",
)
def weights_finite(case: Case) -> Verdict:
    """Weights are numbers."""
    _has_weights(case)
    bad = [n for n, p in case.subject.model.named_parameters() if not bool(torch.isfinite(p).all())]
    embedding = case.subject.model.get_input_embeddings().weight
    empty = not bool(embedding.any())
    return verdict(
        not bad and not empty,
        f"{len(bad)} tensors hold NaN or infinity"
        + ("; the embedding is all zeros" if empty else ""),
        tensors=bad[:5],
    )


@check(
    "trainable-weights",
    "data",
    expected="at least one weight is trainable, in the adapter that is active",
    remedy="PeftModel.from_pretrained(..., is_trainable=True), or pass peft_config to the trainer",
    reference="huggingface/trl#6700; huggingface/peft#282",
)
def trainable_weights(case: Case) -> Verdict:
    """Something can be trained."""
    model = case.subject.model
    trainable = {n: p.numel() for n, p in model.named_parameters() if p.requires_grad}
    total = sum(p.numel() for p in model.parameters())
    share = sum(trainable.values()) / max(total, 1)
    return verdict(
        bool(trainable),
        f"{sum(trainable.values()):,} of {total:,} weights ({share:.2%}) in {len(trainable)} "
        "tensors "
        "are trainable",
        trainable=sum(trainable.values()),
        total=total,
        tensors=len(trainable),
    )


@check(
    "adapters",
    "data",
    expected="the trainable adapter is the active one, and the base is frozen",
    remedy="model.set_adapter(name) for the adapter to train; check modules_to_save and merged "
    "state",
    reference="docs/guide/preflight.md",
)
def adapters(case: Case) -> Verdict:
    """The adapter that is trained is the one that answers."""
    model = case.subject.model
    if not hasattr(model, "peft_config"):
        return not_tested("the model has no adapters")
    active = model.active_adapters if hasattr(model, "active_adapters") else [model.active_adapter]
    active = list(active) if not callable(active) else list(active())
    known = set(model.peft_config)
    trained: set[str] = set()
    base: list[str] = []
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        owner = next((a for a in known if f".{a}." in f"{name}." or name.endswith(f".{a}")), None)
        if owner is None:
            base.append(name)
        else:
            trained.add(owner)
    merged = [n for n, m in model.named_modules() if getattr(m, "merged", False)]
    off = [n for n, m in model.named_modules() if getattr(m, "disable_adapters", False) is True]
    idle = sorted(set(active) - trained)
    good = bool(set(active) & trained) and not (trained - set(active)) and not merged and not off
    return verdict(
        good,
        f"active: {', '.join(active)}; trainable: {', '.join(sorted(trained)) or 'none'}; "
        f"{len(merged)} layers merged, {len(off)} switched off, {len(base)} trainable base tensors",
        active=active,
        trainable=sorted(trained),
        idle=idle,
        merged=len(merged),
        disabled=len(off),
        base=base[:5],
    )


@check(
    "tied-weights",
    "step",
    expected="the head shares its weight with the embedding exactly where the config says so",
    remedy="model.tie_weights() after resizing or loading, or set tie_word_embeddings in the "
    "config",
    reference="huggingface/peft#2777",
)
def tied_weights(case: Case) -> Verdict:
    """Tied weights are tied, or saving would lose one of them."""
    base = case.subject.base
    head = base.get_output_embeddings() if hasattr(base, "get_output_embeddings") else None
    if head is None or not hasattr(head, "weight"):
        return not_tested("the model has no output embedding")
    text = base.config.get_text_config() if hasattr(base.config, "get_text_config") else base.config
    said = bool(getattr(text, "tie_word_embeddings", False))
    model = case.subject.model
    embedding = model.get_input_embeddings()
    tied = head.weight is embedding.weight or (
        head.weight.data_ptr() == embedding.weight.data_ptr() and head.weight.device.type != "meta"
    )
    if hasattr(model, "peft_config") and not tied and said:
        kept = [list(c.modules_to_save or []) for c in model.peft_config.values()]
        if any(kept):
            return failed(
                f"tie_word_embeddings is True and adapters train a copy of {kept}: head and "
                "embedding drift apart",
                modules_to_save=kept,
            )
    return verdict(
        tied == said or (tied and not said),
        f"tie_word_embeddings is {said} and the weights are {'one' if tied else 'two'}",
        config=said,
        shared=tied,
    )


@check(
    "deterministic",
    "step",
    dear=True,
    expected="two passes in evaluation mode give the same numbers, to the last bit",
    remedy="look for dropout outside of nn.Dropout, noise in forward, or a model left in train()",
    reference="docs/guide/preflight.md",
)
def deterministic(case: Case) -> Verdict:
    """A model in evaluation mode gives the same output twice."""
    _has_weights(case)
    from custodes.preflight.measure.step import prepared
    from custodes.preflight.measure.target import target_of

    prepared(case)
    answers = case.answers[:2] if not case.subject.online else case.rollouts.answers[:2]
    target = target_of(case, answers)
    if target is None:
        raise NotTestable("no forward pass of our own fits this model")
    off = float((target.measure() - target.measure()).abs().max())
    return verdict(off == 0.0, f"two passes differ by {off:.2g}", difference=off)


@check(
    "dropout-off",
    "step",
    kinds=("dpo", "kto", "grpo", "rloo"),
    expected="no dropout in the policy while its log-probabilities are compared with a reference",
    remedy="set disable_dropout=True, and lora_dropout=0",
    reference="Huang et al. 2024, arXiv:2403.17031",
)
def dropout_off(case: Case) -> Verdict:
    """Dropout does not blur the ratio to the reference."""
    model = case.subject.model
    active = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Dropout) and m.p > 0]
    config = case.subject.base.config
    inside = {
        k: v
        for k, v in vars(config).items()
        if k in ("attention_dropout", "attn_pdrop") and isinstance(v, float) and v > 0
    }
    live = inside and not getattr(case.subject.args, "disable_dropout", False)
    # Small dropout of an adapter is common, and blurs little.
    strong = [n for n in active if model.get_submodule(n).p > 0.2]
    if not active and not live:
        return passed("no module drops anything", modules=0)
    text = f"{len(active)} modules drop activations, {len(strong)} of them more than 20%"
    return verdict(not strong, text, modules=len(active), strong=len(strong), config=inside)
