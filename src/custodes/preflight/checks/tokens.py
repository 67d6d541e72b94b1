"""Checks on real batches: ids, ends, beginnings, lengths, padding."""

from __future__ import annotations

from custodes.preflight.case import Case
from custodes.preflight.measure.batch import Line, replies
from custodes.preflight.measure.spans import decoded, squeezed
from custodes.preflight.registry import check, failed, not_tested, passed, verdict
from custodes.preflight.result import NotTestable, Verdict

__all__: list[str] = []


def lines_of(case: Case) -> list[Line]:
    """Return the sequences of a real batch.

    Raises:
        NotTestable: The batch holds no token ids.
    """
    lines = case.batch.lines
    if not lines:
        raise NotTestable(f"the batch holds no token ids ({', '.join(case.batch.inputs)})")
    return lines


def cut(case: Case, line: Line) -> bool:
    """Return whether a sequence is as long as the limit allows, so that its end may be gone."""
    limit = getattr(case.subject.args, "max_length", None)
    return limit is not None and len(line.ids) >= limit


@check(
    "batch-collates",
    "batch",
    expected="the collator batches real rows",
    remedy="run trainer.data_collator on a few rows, and read its error",
    reference="huggingface/trl#3149",
)
def batch_collates(case: Case) -> Verdict:
    """The trainer's collator works on rows of its dataset."""
    try:
        batch = case.batch
    except NotTestable as error:
        cause = case.failure("batch")
        if cause is not None and not isinstance(cause, NotTestable):
            return failed(f"the collator failed: {error}")
        raise
    shapes = {k: list(v.shape) for k, v in batch.inputs.items() if hasattr(v, "shape")}
    return passed(f"{len(batch.rows)} rows became {shapes}", shapes=shapes)


@check(
    "ids-in-vocabulary",
    "batch",
    expected="every id is below the number of rows of the embedding",
    remedy="model.resize_token_embeddings(len(tokenizer)), or use the model's own tokenizer",
    reference="huggingface/trl#1067",
)
def ids_in_vocabulary(case: Case) -> Verdict:
    """No token id is beyond the embedding, and the tokenizer fits the model."""
    embedding = case.subject.model.get_input_embeddings()
    rows = int(embedding.weight.shape[0])
    highest = lowest = 0
    source = "the tokenizer's special tokens"
    tokenizer = case.subject.tokenizer
    specials = [
        i
        for i in (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id)
        if i is not None
    ]
    size = len(tokenizer)
    try:
        ids = [i for line in lines_of(case) for i in line.ids] if not case.subject.online else []
        source = "real batches" if ids else source
    except NotTestable:
        ids = []
    highest, lowest = max([*ids, *specials], default=0), min([*ids, *specials], default=0)
    good = highest < rows and lowest >= 0 and size <= rows
    return verdict(
        good,
        f"highest id in {source} {highest}; the tokenizer has {size} tokens, the embedding {rows} rows",
        highest=highest,
        lowest=lowest,
        tokenizer=size,
        embedding=rows,
    )


@check(
    "sequence-length",
    "batch",
    expected="no sequence is longer than the model's positions",
    remedy="lower max_length, or max_completion_length and the prompts' length",
    reference="huggingface/trl#1225",
)
def sequence_length(case: Case) -> Verdict:
    """Sequences fit into the model's context."""
    config = case.subject.base.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    limit = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None)
    if not isinstance(limit, int) or limit <= 0:
        return not_tested("the model states no longest context")
    if case.subject.online:
        tokenizer = case.subject.tokenizer
        longest = max(_prompt_tokens(tokenizer, row.get("prompt")) for row in case.rows)
        length = longest + int(case.trainer.max_completion_length)
    else:
        length = max(_positions(case, line) for line in lines_of(case))
    return verdict(
        length <= limit,
        f"the longest of the sampled sequences takes {length} positions of {limit}",
        longest=length,
        limit=limit,
    )


def _positions(case: Case, line: Line) -> int:
    del case
    return len(line.ids)


def _prompt_tokens(tokenizer: object, prompt: object) -> int:
    if isinstance(prompt, str):
        return len(tokenizer(prompt)["input_ids"])  # type: ignore[operator]
    ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=True)  # type: ignore[attr-defined]
    return len(ids["input_ids"] if hasattr(ids, "keys") else ids)


@check(
    "bos-once",
    "batch",
    expected="at most one BOS token at the beginning of a sequence",
    remedy="the chat template or the text writes BOS and the tokenizer adds it again: strip it from "
    "the text, or set add_bos_token=False",
    reference="huggingface/trl#1400; huggingface/trl#3328",
)
def bos_once(case: Case) -> Verdict:
    """No sequence begins with two BOS tokens."""
    bos = case.subject.tokenizer.bos_token_id
    if bos is None:
        return not_tested("the tokenizer has no BOS token")
    if case.subject.online:
        rollouts = case.rollouts
        firsts = [list(one.ids[:2]) for one in rollouts.answers]
    else:
        firsts = [line.ids[:2] for line in lines_of(case)]
    twice = sum(first == [bos, bos] for first in firsts)
    return verdict(
        twice == 0,
        f"{twice} of {len(firsts)} sequences begin with two BOS tokens",
        twice=twice,
        sequences=len(firsts),
    )


@check(
    "attention-mask",
    "batch",
    expected="the mask shows every real token and hides padding",
    remedy="let the collator pad the attention mask with 0, and give pad a token of its own",
    reference="huggingface/transformers#35352",
)
def attention_mask(case: Case) -> Verdict:
    """The attention mask matches the padding, and the batch is the dataset's rows."""
    lines = lines_of(case)
    if "attention_mask" not in case.batch.inputs:
        return not_tested("the batch has no attention mask (padding-free)")
    holes = sum(line.holes for line in lines)
    tails = sum(line.tail > 0 for line in lines)
    return verdict(
        holes == 0 and tails == 0,
        f"the mask hides {holes} real tokens, and shows padding in {tails} of {len(lines)} sequences",
        hidden=holes,
        shown_padding=tails,
    )


@check(
    "reply-end",
    "batch",
    kinds=("sft", "dpo", "kto"),
    expected="the last trained token of a reply that was not cut is an end token",
    remedy="let replies end in the tokenizer's eos_token (or the template's end of turn) and keep "
    "it in the labels; give pad a token of its own if the collator masks by pad id",
    reference="huggingface/trl#1623; huggingface/trl#3200; huggingface/trl#6357",
)
def reply_end(case: Case) -> Verdict:
    """The model is trained to stop."""
    ends = case.subject.end_ids
    seen = ended = 0
    packed = case.batch.packed
    for line in lines_of(case):
        trained = [i for i, on in enumerate(line.trained) if on]
        if not trained or cut(case, line) or (packed and not _complete(case)):
            continue
        seen += 1
        # A template may put a line feed behind the end of a turn.
        rest = [line.ids[i] for i in trained[-3:]]
        after = [line.ids[i] for i in range(trained[-1] + 1, len(line.ids))]
        last = next(
            (i for i in reversed(rest) if decoded(case.subject.tokenizer, [i]).strip()), rest[-1]
        )
        ended += last in ends
        del after
    if not seen:
        return not_tested("every sampled sequence was cut at max_length or packed")
    share = ended / seen
    return verdict(
        share >= 0.9,
        f"{ended} of {seen} replies are trained to end in one of {len(ends)} end tokens",
        ended=ended,
        replies=seen,
    )


def _complete(case: Case) -> bool:
    """Return whether packed rows hold whole documents."""
    return getattr(case.subject.args, "packing_strategy", "bfd") == "bfd" or not getattr(
        case.subject.args, "packing", False
    )


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
    remedy="end the prompt on a token boundary (no trailing space; let the reply begin with it), or "
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


@check(
    "padding-untrained",
    "batch",
    kinds=("sft", "dpo", "kto", "plain"),
    expected="no padding token is trained",
    remedy="pad labels with -100 and masks with 0",
    reference="huggingface/transformers#22597",
)
def padding_untrained(case: Case) -> Verdict:
    """Padding is not in the loss."""
    if not case.subject.causal:
        return not_tested("the labels of this model are not tokens")
    lines = lines_of(case)
    trained = sum(line.padding_trained for line in lines)
    return verdict(trained == 0, f"{trained} padding tokens are trained", trained=trained)


@check(
    "position-ids",
    "batch",
    expected="position ids count 0, 1, 2 … within each document",
    remedy="leave position_ids to the collator, or count them from each document's first token",
    reference="huggingface/trl#3728",
)
def position_ids(case: Case) -> Verdict:
    """Positions count up from 0."""
    lines = [line for line in lines_of(case) if line.positions is not None]
    if not lines:
        return not_tested("the batch has no position ids")
    wrong = sum(line.positions != list(range(len(line.ids))) for line in lines)
    packed = case.batch.packed and "attention_mask" in case.batch.inputs
    if packed:
        wrong = sum(
            any(b not in (a + 1, 0) for a, b in zip(p, p[1:], strict=False))
            for p in (line.positions or [] for line in lines)
        )
    return verdict(wrong == 0, f"positions jump in {wrong} of {len(lines)} documents", wrong=wrong)
