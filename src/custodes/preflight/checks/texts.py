"""Checks that a batch holds the texts of its rows: truncation, pairs, prompts."""

from __future__ import annotations

from custodes.preflight.case import Case
from custodes.preflight.checks.tokens import cut, lines_of
from custodes.preflight.measure.batch import replies
from custodes.preflight.measure.spans import decoded, squeezed
from custodes.preflight.registry import check, not_tested, verdict
from custodes.preflight.result import NotTestable, Verdict

__all__: list[str] = []


@check(
    "truncation",
    "batch",
    expected="no reply is cut away whole, and fewer than half are cut at all",
    remedy="raise max_length, or choose the truncation_mode that keeps the reply",
    reference="huggingface/trl#3398; huggingface/trl#6548",
)
def truncation(case: Case) -> Verdict:
    """Truncation leaves the replies in."""
    limit = getattr(case.subject.args, "max_length", None)
    lines = lines_of(case)
    if getattr(case.subject.args, "packing", False):
        return not_tested("packing splits rows where it has to")
    total = gone = part = 0
    for line in lines:
        row = case.batch.rows[line.source]
        raw = None if case.batch.packed else replies(case.subject, row, line.role)
        if case.subject.kind == "reward" or raw is None:
            total += 1
            part += limit is not None and len(line.ids) >= limit
            gone += (
                not any(line.trained) and case.subject.kind != "reward" and line.labels is not None
            )
            continue
        text = squeezed(decoded(case.subject.tokenizer, line.ids))
        for reply in raw[1]:
            whole = squeezed(reply)
            if not whole:
                continue
            total += 1
            if whole not in text and cut(case, line):
                part += 1
                gone += whole[: max(len(whole) // 8, 1)] not in text or not any(line.trained)
    if not total:
        return not_tested("no reply could be compared with its text")
    return verdict(
        gone == 0 and part / total < 0.5,
        f"of {total} replies {part} are cut and {gone} are cut away whole (max_length {limit})",
        cut=part,
        gone=gone,
        replies=total,
    )


@check(
    "pairs-differ-in-batch",
    "batch",
    kinds=("dpo", "reward"),
    expected="chosen and rejected differ after tokenizing and truncation",
    remedy="raise max_length: both replies are cut before they differ",
    reference="OpenRLHF/OpenRLHF#1311",
)
def pairs_differ_in_batch(case: Case) -> Verdict:
    """Pairs still differ in the batch."""
    lines = lines_of(case)
    chosen = [line for line in lines if line.role == "chosen"]
    rejected = [line for line in lines if line.role == "rejected"]
    if not chosen or len(chosen) != len(rejected):
        raise NotTestable("the batch does not hold chosen rows and then rejected rows")
    same = sum(a.ids == b.ids for a, b in zip(chosen, rejected, strict=True))
    return verdict(
        same / len(chosen) < 0.25,
        f"{same} of {len(chosen)} pairs are the same token for token in the batch",
        same=same,
        pairs=len(chosen),
    )


@check(
    "batch-holds-rows",
    "batch",
    expected="the text of a batch's sequence is that of its row: prompt first, then the reply",
    remedy="look at the collator and at map() functions: they drop, shift, swap or mix texts",
    reference="axolotl-ai-cloud/axolotl#1761",
)
def batch_holds_rows(case: Case) -> Verdict:
    """What is in the batch is what the raw columns say, chosen in the place of chosen."""
    if case.batch.packed:
        return not_tested("rows are packed: the raw columns are gone")
    tokenizer = case.subject.tokenizer
    compared = wrong = 0
    example = ""
    for line in lines_of(case):
        row = case.batch.rows[line.source]
        raw = replies(case.subject, row, line.role)
        texts = [] if raw is None else [raw[0], *raw[1]]
        if raw is None and isinstance(row.get("text"), str):
            texts = [row["text"]]
        text = squeezed(decoded(tokenizer, line.ids))
        if not texts or not squeezed("".join(texts)):
            continue
        compared += 1
        if cut(case, line):
            texts = (
                [t[: max(len(t) // 8, 8)] for t in texts[-1:]] if len(texts) > 1 else [texts[0][:8]]
            )
            if getattr(case.subject.args, "truncation_mode", "") == "keep_end":
                continue
            texts = texts if len(line.ids) > 16 else []
        place = 0
        for wanted in texts:
            found = text.find(squeezed(wanted), place)
            if found < 0 and squeezed(wanted):
                wrong += 1
                example = wanted[:60]
                break
            place = max(found, place)
    if not compared:
        return not_tested("the rows keep no raw text")
    return verdict(
        wrong / compared < 0.1,
        f"{wrong} of {compared} sequences lack the text of their row"
        + (f", e.g. {example!r}" if wrong else ""),
        wrong=wrong,
        sequences=compared,
    )


@check(
    "prompt-prefix",
    "batch",
    kinds=("sft", "dpo", "kto"),
    expected="the tokens of the prompt alone are how prompt and reply together begin",
    remedy="end the prompt on a token boundary (no trailing space; let the reply begin with it), "
    "or "
    "use a chat template that renders the prompt the same both times",
    reference="huggingface/trl#4201",
)
def prompt_prefix(case: Case) -> Verdict:
    """The context that is trained on is the context that is met in use."""
    tokenizer = case.subject.tokenizer
    compared = off = 0
    for row in case.rows[:32]:
        prompt = row.get("prompt")
        if not isinstance(prompt, str) or not prompt:
            continue
        alone = tokenizer(prompt)["input_ids"]
        reply = row.get("completion", row.get("chosen"))
        if not isinstance(reply, str):
            continue
        both = tokenizer(prompt + reply)["input_ids"]
        compared += 1
        off += both[: len(alone)] != alone
    if not compared:
        return not_tested("rows have no plain prompt beside a plain reply")
    return verdict(
        off / compared < 0.25,
        f"in {off} of {compared} rows the end of the prompt merges into the reply's first token",
        off=off,
        rows=compared,
    )
