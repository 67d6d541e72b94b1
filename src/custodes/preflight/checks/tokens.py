"""Checks on real batches: ids, ends, beginnings, lengths, padding."""

from __future__ import annotations

import itertools

from custodes.preflight.case import Case
from custodes.preflight.measure.batch import Line
from custodes.preflight.measure.spans import decoded
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
    reference="docs/guide/preflight.md",
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
    reference="docs/guide/preflight.md",
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
        f"highest id in {source} {highest}; the tokenizer has {size} tokens, the embedding "
        f"{rows} rows",
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
    reference="docs/guide/preflight.md",
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
    remedy="the chat template or the text writes BOS and the tokenizer adds it again: strip it "
    "from "
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
        f"the mask hides {holes} real tokens, and shows padding in {tails} of {len(lines)} "
        "sequences",
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
    "padding-untrained",
    "batch",
    kinds=("sft", "dpo", "kto", "plain"),
    expected="no padding token is trained",
    remedy="pad labels with -100 and masks with 0",
    reference="docs/guide/preflight.md",
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
    reference="docs/guide/preflight.md",
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
            any(b not in (a + 1, 0) for a, b in itertools.pairwise(p))
            for p in (line.positions or [] for line in lines)
        )
    return verdict(wrong == 0, f"positions jump in {wrong} of {len(lines)} documents", wrong=wrong)
