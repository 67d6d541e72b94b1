"""Checks that batching, padding, packing and accumulation change nothing."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch

from custodes.preflight.case import Case
from custodes.preflight.measure.batch import collate
from custodes.preflight.measure.forward import evaluation, logits, scores
from custodes.preflight.registry import check, not_tested, verdict
from custodes.preflight.result import NotTestable, Verdict

__all__: list[str] = []


def _tolerance(case: Case) -> float:
    dtypes = {p.dtype for p in case.subject.model.parameters()}
    args = case.subject.args
    coarse = args.bf16 or args.fp16 or dtypes & {torch.bfloat16, torch.float16}
    return 0.15 if coarse else 1e-3


@check(
    "padding-invariance",
    "step",
    dear=True,
    kinds=("reward", "sft", "dpo", "kto"),
    expected="a row scores the same alone and beside a longer one, with padding on either side",
    remedy="set model.config.pad_token_id to the tokenizer's, and let the tokenizer pad on the "
    "side "
    "that the model expects",
    reference="huggingface/trl#2708; huggingface/trl#3307; huggingface/transformers#35352",
)
def padding_invariance(case: Case) -> Verdict:
    """Padding changes no output."""
    from custodes.preflight.measure.step import prepared

    prepared(case)
    model = case.subject.model
    rows = sorted({tuple(one.ids) for one in case.answers if len(one.ids) > 1}, key=len)
    if len(rows) < 2:
        raise NotTestable("there are no two rows to put side by side")
    short, long = rows[0], rows[-1]
    if len(long) > 256:
        long = next((r for r in rows if len(r) > len(short)), long)[:256]
        short = short[: max(len(long) // 2, 2)]
    if len(short) == len(long):
        short = short[: max(len(long) - 3, 2)]
    bound = _tolerance(case)
    # Absolute positions move with padding on the left, whoever trains the model.
    learned = getattr(case.subject.base.config, "model_type", "") in ("gpt2", "gpt_neo", "opt")
    sides = ("right",) if learned else ("right", "left")
    if case.subject.kind == "reward":
        alone = float(scores(model, [short], pad=case.pad, autocast=case.autocast)[0])
        off = 0.0
        for side in sides:
            beside = scores(model, [short, long], pad=case.pad, side=side, autocast=case.autocast)
            off = max(off, abs(float(beside[0]) - alone))
        spread = abs(alone - float(scores(model, [long], pad=case.pad, autocast=case.autocast)[0]))
        limit = max(bound * max(abs(alone), spread, 0.1), 1e-4)
        return verdict(
            off <= limit,
            f"a row scores {alone:.4g} alone and up to {off:.2g} apart when padded on the "
            f"{' or '.join(sides)}",
            difference=off,
            alone=alone,
        )
    if not case.subject.causal:
        raise NotTestable("the model predicts no tokens")
    if learned:
        raise NotTestable(
            "positions are absolute and move with padding on the left, and a causal model reads "
            "none on the right"
        )
    plain = logits(model, [short], pad=case.pad, autocast=case.autocast)[0].softmax(-1)
    off = 0.0
    # Whole distributions are compared: half precision moves the log-probabilities of tokens that
    # nobody would choose by whole nats. Padding on the right is behind what a causal model reads;
    # padding on the left is what an ignored mask lets in.
    for side in sides:
        both = logits(model, [short, long], pad=case.pad, side=side, autocast=case.autocast)[0]
        own = both[: len(short)] if side == "right" else both[-len(short) :]
        off = max(off, float((own.softmax(-1) - plain).abs().sum(-1).max()) / 2)
    return verdict(
        off <= bound * 2,
        f"the distributions of the next token in a row differ by at most {off:.2g} (total "
        f"variation, in [0, 1]) when it is padded on the {' or '.join(sides)}",
        difference=off,
    )


@check(
    "causal",
    "step",
    dear=True,
    kinds=("sft", "dpo", "kto", "grpo", "rloo"),
    expected="a later token changes no earlier prediction",
    remedy="check the attention mask and attn_implementation: the model sees the answer it "
    "predicts",
    reference="docs/guide/preflight.md",
)
def causal(case: Case) -> Verdict:
    """The model cannot see ahead."""
    from custodes.preflight.measure.step import prepared

    prepared(case)
    answers = case.rollouts.answers if case.subject.online else case.answers
    row = next((list(one.ids[:128]) for one in answers if len(one.ids) >= 4), None)
    if row is None:
        raise NotTestable("rows are too short")
    rows = int(case.subject.model.get_input_embeddings().weight.shape[0])
    other = [*row[:-1], (row[-1] + 1) % rows]
    both = logits(case.subject.model, [row, other], pad=case.pad, autocast=case.autocast)
    off = float((both[0, :-1] - both[1, :-1]).abs().max())
    return verdict(
        off <= _tolerance(case),
        f"changing the last token moves earlier logits by {off:.2g}",
        difference=off,
    )


@check(
    "packing-boundaries",
    "step",
    dear=True,
    kinds=("sft",),
    expected="the tokens of one document change no prediction in the next",
    remedy="use an attention implementation that reads position ids (flash attention, or "
    "sdpa/eager "
    "masks made from them), or packing=False",
    reference="docs/guide/preflight.md",
)
def packing_boundaries(case: Case) -> Verdict:
    """Packed documents do not see one another."""
    from custodes.preflight.measure.step import prepared

    batch = case.batch
    if not batch.packed or "position_ids" not in batch.inputs:
        if batch.packed and any(len(r.get("seq_lengths") or []) > 1 for r in batch.rows):
            return verdict(
                False,
                "rows are packed, and the batch has no position ids: documents see one another",
            )
        return not_tested("sequences are not packed")
    first, second = _neighbours(batch.lines)
    prepared(case)
    inputs = {
        k: v
        for k, v in batch.inputs.items()
        if k in ("input_ids", "position_ids", "attention_mask")
    }
    row = first.place[0]
    stop = second.place[1] + len(second.ids)
    inputs = {k: v[row : row + 1, :stop] for k, v in inputs.items()}
    if stop > 4096:
        return not_tested("the first two packed documents are longer than 4,096 tokens")
    base = _predict(case, inputs)
    start = first.place[1]
    rows = int(case.subject.model.get_input_embeddings().weight.shape[0])
    changed = inputs["input_ids"].clone()
    changed[0, start : start + len(first.ids)] = (
        changed[0, start : start + len(first.ids)] + 1
    ) % rows
    moved = _predict(case, {**inputs, "input_ids": changed})
    off = float((base - moved)[0, second.place[1] :].abs().max())
    return verdict(
        off <= _tolerance(case),
        f"changing one document moves the logits of the next by {off:.2g}",
        difference=off,
    )


def _neighbours(lines: list[Any]) -> tuple[Any, Any]:
    for a, b in itertools.pairwise(lines):
        if a.place[0] == b.place[0] and len(a.ids) > 1 and len(b.ids) > 1:
            return a, b
    raise NotTestable("no row holds two documents")


@torch.no_grad()
def _predict(case: Case, inputs: dict[str, Any]) -> torch.Tensor:
    model = case.subject.model
    device = next(model.parameters()).device
    with evaluation(model), case.autocast():
        out = model(**{k: v.to(device) for k, v in inputs.items()}, use_cache=False)
    return torch.as_tensor(out.logits).float().cpu()


@check(
    "accumulation",
    "step",
    dear=True,
    kinds=("sft", "dpo", "kto", "reward", "plain"),
    expected="gradients accumulated over single rows equal the gradient of the batch",
    remedy="update transformers and trl, and let compute_loss use num_items_in_batch",
    reference="huggingface/transformers#34191; huggingface/trl#2647; huggingface/trl#3716",
)
def accumulation(case: Case) -> Verdict:
    """1 × n = n × 1."""
    step = case.step
    rows = step.batch.rows if step.batch is not None else []
    if len(rows) < 2 or case.subject.kind == "kto":
        return not_tested("KTO's loss compares rows of a batch" if rows else "there is one row")
    if step.batch is not None and step.batch.packed:
        return not_tested("rows are packed")
    if any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in case.subject.model.modules()):
        return not_tested("dropout makes the two gradients differ")
    trainer = case.trainer
    model = case.notes["prepared"]
    weights = [p for p in case.subject.model.parameters() if p.requires_grad]
    batches = [collate(case, [row]).inputs for row in rows]
    items = trainer._get_num_items_in_batch(batches, trainer.args.device)
    from custodes.preflight.measure.step import average_gradients

    for weight in weights:
        weight.grad = None
    try:
        trainer.current_gradient_accumulation_steps = len(batches)
        for inputs in batches:
            trainer.training_step(model, dict(inputs), items)
        average_gradients(trainer, weights)
        norm = math.sqrt(
            sum(float(w.grad.float().norm()) ** 2 for w in weights if w.grad is not None)
        )
    finally:
        trainer.current_gradient_accumulation_steps = 1
        for weight in weights:
            weight.grad = None
    whole = step.total_gradient
    off = abs(norm - whole) / max(whole, 1e-12)
    bound = 0.1 if _tolerance(case) > 0.01 else 0.02
    text = f"the accumulated gradient has norm {norm:.4g}, that of the batch {whole:.4g}"
    figures = {"accumulated": norm, "batch": whole, "relative": off}
    if off > bound and case.subject.args.gradient_accumulation_steps == 1:
        return not_tested(f"{text}; this training accumulates none", **figures)
    return verdict(off <= bound, text, **figures)
