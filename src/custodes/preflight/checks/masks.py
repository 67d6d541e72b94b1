"""Checks on which tokens are trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from custodes.preflight.case import Case
from custodes.preflight.checks.tokens import lines_of
from custodes.preflight.measure.batch import Line, replies
from custodes.preflight.measure.spans import text_span
from custodes.preflight.registry import check, failed, not_tested, verdict
from custodes.preflight.result import NotTestable, Verdict
from custodes.preflight.subject import text_of

__all__: list[str] = []


def masks_prompts(case: Case) -> bool:
    """Return whether the config says that prompts are left out of the loss."""
    if case.subject.kind != "sft":
        return case.subject.kind in ("dpo", "kto", "grpo", "rloo")
    only = getattr(case.trainer, "completion_only_loss", None)
    if only is None:
        only = getattr(case.subject.args, "completion_only_loss", None)
    row = case.rows[0]
    if getattr(case.subject.args, "assistant_only_loss", False):
        return True
    return ("completion" in row and "prompt" in row) if only is None else bool(only)


@check(
    "trained-tokens",
    "batch",
    kinds=("sft", "dpo", "kto", "plain"),
    expected="every row trains at least one token",
    remedy="check completion_only_loss, the response template, assistant_only_loss and max_length: "
    "rows whose labels are all -100 train nothing",
    reference="huggingface/trl#6668; unslothai/unsloth#2900",
)
def trained_tokens(case: Case) -> Verdict:
    """Every row of the batch trains something."""
    lines = lines_of(case)
    if lines[0].labels is None and "completion_mask" not in case.batch.inputs:
        return not_tested("the batch has neither labels nor a completion mask")
    # The first token of a sequence has nothing before it that could predict it.
    counts = [sum(line.trained[1:]) for line in lines]
    none = sum(count == 0 for count in counts)
    share = sum(counts) / max(sum(len(line.ids) for line in lines), 1)
    return verdict(
        none == 0,
        f"{none} of {len(lines)} sequences train no token; {share:.0%} of all tokens are trained",
        untrained=none,
        sequences=len(lines),
        share=round(share, 4),
        fewest=min(counts),
    )


@check(
    "labels-equal-inputs",
    "batch",
    kinds=("sft", "plain"),
    expected="each label is the id at its own place, or -100: the model shifts them itself",
    remedy="do not shift labels in the collator or in map(): transformers shifts inside the loss",
    reference="volcengine/verl#3287; OpenRLHF/OpenRLHF#973",
)
def labels_equal_inputs(case: Case) -> Verdict:
    """Labels are the inputs, neither shifted nor mixed between rows."""
    if not case.subject.causal:
        return not_tested("the labels of this model are not tokens")
    counted = wrong = shifted = 0
    for line in lines_of(case):
        if line.labels is None:
            raise NotTestable("the batch has no labels")
        for i, label in enumerate(line.labels):
            if label == -100:
                continue
            counted += 1
            wrong += label != line.ids[i]
            shifted += i + 1 < len(line.ids) and label == line.ids[i + 1]
    if not counted:
        return not_tested("no token is trained")
    return verdict(
        wrong / counted < 0.01,
        f"{wrong} of {counted} labels differ from the id at their place"
        + (
            f" ({shifted} equal the next id: shifted twice)"
            if wrong and shifted > wrong / 2
            else ""
        ),
        wrong=wrong,
        labels=counted,
    )


def spans_of(case: Case, line: Line) -> tuple[list[int], list[int]] | None:
    """Return the places of prompt tokens and of reply tokens, from the raw columns."""
    row = case.batch.rows[line.source]
    raw = replies(case.subject, row, line.role)
    if raw is None or case.batch.packed:
        return None
    reply: set[int] = set()
    for text in raw[1]:
        span = text_span(case.subject.tokenizer, line.ids, text)
        if span is None:
            return None
        reply |= set(range(*span))
    prompt: set[int] = set()
    said = row.get("prompt", row.get("messages"))
    parts = [m for m in said if m.get("role") != "assistant"] if isinstance(said, list) else [said]
    for part in parts:
        text = text_of(part)
        before = line.ids[: min(reply)] if reply and not isinstance(said, list) else line.ids
        span = text_span(case.subject.tokenizer, before, text) if text.strip() else None
        if span is not None:
            prompt |= set(range(*span))
    return sorted(prompt - reply), sorted(reply)


def columns_of(case: Case, line: Line) -> tuple[list[int], list[int]] | None:
    """Return the places of prompt tokens and of reply tokens, from the dataset's token columns."""
    row = case.batch.rows[line.source]
    reply = row.get(f"{line.role}_ids" if line.role else "completion_ids")
    prompt = row.get("prompt_ids")
    if not isinstance(prompt, list) or not isinstance(reply, list):
        return None
    if [*prompt, *reply] != line.ids:
        return None
    return list(range(len(prompt))), list(range(len(prompt), len(line.ids)))


def _compared(
    case: Case, spans: Callable[[Case, Line], tuple[list[int], list[int]] | None]
) -> dict[str, Any]:
    prompts = leaked = wanted = missed = first_missed = sequences = 0
    for line in case.batch.lines:
        places = spans(case, line)
        if places is None:
            continue
        prompt, reply = places
        mask = line.trained
        sequences += 1
        prompts += len(prompt)
        leaked += sum(mask[i] for i in prompt)
        inner = [i for i in reply if i > 0]
        wanted += len(inner)
        missed += sum(not mask[i] for i in inner)
        first_missed += bool(inner) and not mask[inner[0]]
    return {
        "sequences": sequences,
        "prompt_tokens": prompts,
        "prompt_tokens_trained": leaked,
        "reply_tokens": wanted,
        "reply_tokens_untrained": missed,
        "first_tokens_untrained": first_missed,
    }


@check(
    "trained-text",
    "batch",
    kinds=("sft", "dpo", "kto"),
    expected="the mask covers all tokens of the replies and, where prompts are masked, none of "
    "theirs",
    remedy="compare the decoded mask (report.to_html()) with your data: completion_only_loss, "
    "assistant_only_loss, the template's {% generation %} marks, a custom collator",
    reference="axolotl-ai-cloud/axolotl#1761",
)
def trained_text(case: Case) -> Verdict:
    """The batch's mask marks the replies of the raw rows."""
    lines_of(case)
    by_text = _mask_verdict(case, _compared(case, spans_of))
    by_tokens = _mask_verdict(case, _compared(case, columns_of))
    if by_text.passed is None or by_tokens.passed is False:
        return by_tokens
    return by_text


def _mask_verdict(case: Case, figures: dict[str, Any]) -> Verdict:
    if not figures["sequences"]:
        return not_tested("the rows keep no raw prompt and reply to compare with", **figures)
    leak = figures["prompt_tokens_trained"] / max(figures["prompt_tokens"], 1)
    miss = figures["reply_tokens_untrained"] / max(figures["reply_tokens"], 1)
    firsts = figures["first_tokens_untrained"] / figures["sequences"]
    clean = leak <= 0.02 if masks_prompts(case) else True
    return verdict(
        clean and miss <= 0.05 and firsts <= 0.25,
        f"the mask trains {figures['prompt_tokens_trained']} of {figures['prompt_tokens']} "
        "prompt tokens "
        f"and misses {figures['reply_tokens_untrained']} of {figures['reply_tokens']} reply tokens "
        f"(first token missed in {figures['first_tokens_untrained']} of {figures['sequences']})",
        **figures,
    )


@check(
    "trained-positions",
    "step",
    kinds=("sft", "dpo", "kto", "plain", "grpo", "rloo"),
    expected="the loss has a gradient at the predictions of the reply's tokens, the first one "
    "included, and at no prompt token",
    remedy="look for an off-by-one in the mask, a shift in compute_loss, or a loss that ignores "
    "the mask",
    reference="volcengine/verl#3287; OpenRLHF/OpenRLHF#973",
)
def trained_positions(case: Case) -> Verdict:
    """The tokens that the loss really trains, from its gradient, are the reply's."""
    step = case.step
    found = step.positions
    why = ""
    if found is None:
        why = "the gradient at the last hidden states could not be read"
    elif not case.subject.causal:
        why = "the model predicts no tokens"
    elif getattr(case.trainer, "top_entropy_quantile", 1.0) < 1.0:
        why = "top_entropy_quantile masks tokens on purpose"
    if why:
        return not_tested(why)
    if case.subject.online:
        return _rollout_positions(case, found)
    batch = step.batch
    if batch is None or not batch.lines:
        raise NotTestable("the batch holds no token ids")
    if not bool(found.any()):
        return failed("no prediction has a gradient")
    wanted = missed = leaked = outside = firsts = sequences = 0
    for line in batch.lines:
        row, column = line.place
        mask = found[row, column : column + len(line.ids)].tolist()
        marks = list(line.trained)
        if line.labels is None and "completion_mask" not in batch.inputs:
            return not_tested("the batch has neither labels nor a completion mask")
        inner = [i for i, on in enumerate(marks) if on and i > 0]
        rest = [i for i, on in enumerate(marks) if not on and i > 0]
        sequences += 1
        wanted += len(inner)
        outside += len(rest)
        missed += sum(not mask[i] for i in inner)
        leaked += sum(mask[i] for i in rest)
        firsts += bool(inner) and not mask[inner[0]]
    return verdict(
        missed <= 0.1 * wanted and leaked <= 0.01 * outside and firsts <= 0.5 * sequences,
        f"the gradient reaches {wanted - missed} of {wanted} tokens that the mask marks and "
        f"{leaked} "
        f"of {outside} others; the first marked token is missed in {firsts} of {sequences} "
        "sequences",
        marked=wanted,
        missed=missed,
        others=outside,
        leaked=leaked,
        first_missed=firsts,
    )


def _rollout_positions(case: Case, found: Any) -> Verdict:
    inputs = case.rollouts.inputs
    mask = inputs["completion_mask"].bool().cpu()
    advantages = inputs["advantages"].cpu()
    prompt = inputs["prompt_ids"].shape[1]
    active = (advantages if advantages.ndim == 1 else advantages.abs().sum(-1)) != 0
    if not bool(active.any()):
        return not_tested("all advantages are 0")
    reached = found[:, prompt:][active]
    leaked = int(found[:, :prompt].sum()) + int((reached & ~mask[active]).sum())
    wanted = int(mask[active].sum())
    missed = int((mask[active] & ~reached).sum())
    firsts = int((mask[active][:, 0] & ~reached[:, 0]).sum())
    return verdict(
        missed <= 0.1 * wanted and leaked == 0 and firsts <= 0.5 * int(active.sum()),
        f"the gradient reaches {wanted - missed} of {wanted} completion tokens and {leaked} "
        "others; "
        f"the first token is missed in {firsts} of {int(active.sum())} completions",
        marked=wanted,
        missed=missed,
        leaked=leaked,
        first_missed=firsts,
    )
