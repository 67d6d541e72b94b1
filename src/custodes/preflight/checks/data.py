"""Checks on the dataset as it lies: rows, pairs, labels, columns."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from custodes.preflight.case import Case
from custodes.preflight.registry import check, failed, not_tested, passed, verdict
from custodes.preflight.result import NotTestable, Verdict
from custodes.preflight.subject import text_of

__all__: list[str] = []

_STOP = frozenset(
    [
        "the",
        "a",
        "an",
        "of",
        "to",
        "in",
        "and",
        "or",
        "is",
        "are",
        "was",
        "were",
        "be",
        "do",
        "does",
        "did",
        "what",
        "which",
        "who",
        "how",
        "why",
        "when",
        "where",
        "for",
        "on",
        "with",
        "as",
        "by",
        "at",
        "from",
        "this",
        "that",
        "it",
        "its",
        "i",
        "you",
        "he",
        "she",
        "we",
        "they",
        "me",
        "my",
        "your",
        "not",
        "no",
        "can",
        "could",
        "would",
        "should",
        "will",
        "if",
        "then",
        "than",
        "so",
        "but",
    ]
)


@check(
    "dataset-rows",
    "data",
    expected="at least one row",
    remedy="pass a train_dataset that has rows; look at what filtering and max_length dropped",
    reference="huggingface/trl#6668",
)
def dataset_rows(case: Case) -> Verdict:
    """The training set has rows, and they can be read."""
    subject = case.subject
    if subject.dataset is None:
        return failed("the trainer has no train_dataset", rows=0)
    if subject.length is None:
        try:
            return passed(f"a stream; its first {len(case.rows)} rows can be read", rows=None)
        except NotTestable as error:
            if "empty" in str(error):
                return failed("the stream yields no row", rows=0)
            raise
    return verdict(subject.length > 0, f"{subject.length} rows", rows=subject.length)


@check(
    "rows-differ",
    "data",
    expected="no single row makes up half of the sample",
    remedy="look for a map() that returns the same row, or drop duplicates before training",
    reference="huggingface/trl#3452",
)
def rows_differ(case: Case) -> Verdict:
    """The training set is not one row many times."""
    rows = case.rows
    if len(rows) < 4:
        return not_tested(f"{len(rows)} rows are too few")
    counts = Counter(repr(sorted(row.items(), key=lambda item: item[0])) for row in rows)
    most = counts.most_common(1)[0][1]
    share = most / len(rows)
    return verdict(
        share < 0.5,
        f"the commonest row makes up {share:.0%} of {len(rows)} rows looked at",
        distinct=len(counts),
        rows=len(rows),
    )


@check(
    "texts-present",
    "data",
    expected="fewer than 5% of prompts, replies and texts are empty",
    remedy="filter empty rows out, and check the column names that a map() writes",
    reference="docs/guide/preflight.md",
)
def texts_present(case: Case) -> Verdict:
    """Prompts and replies are not empty."""
    columns = [
        c
        for c in ("prompt", "completion", "chosen", "rejected", "text", "messages")
        if c in case.rows[0]
    ]
    if not columns:
        return not_tested("the rows hold no text, only token ids")
    empty = {
        c: sum(not text_of(row.get(c)).strip() for row in case.rows) / len(case.rows)
        for c in columns
    }
    worst = max(empty, key=lambda c: empty[c])
    return verdict(
        empty[worst] < 0.05,
        f"{empty[worst]:.0%} of the sampled rows have an empty {worst!r}",
        **{f"empty_{c}": round(share, 4) for c, share in empty.items()},
    )


@check(
    "pairs-differ",
    "data",
    kinds=("dpo", "reward"),
    expected="fewer than 5% of pairs have the same text twice",
    remedy="drop rows whose chosen equals rejected, and check the map() that makes the pairs",
    reference="CarperAI/trlx#474",
)
def pairs_differ(case: Case) -> Verdict:
    """Chosen and rejected replies differ."""
    names = ("chosen", "rejected") if "chosen" in case.rows[0] else ("chosen_ids", "rejected_ids")
    if names[0] not in case.rows[0]:
        raise NotTestable("no columns of pairs; the collator makes them")
    same = sum(row[names[0]] == row[names[1]] for row in case.rows)
    return verdict(
        same / len(case.rows) < 0.05,
        f"{same} of {len(case.rows)} sampled pairs have the same reply twice",
        same=same,
        pairs=len(case.rows),
    )


@check(
    "pairs-order",
    "data",
    kinds=("dpo", "reward"),
    expected="where scores are at hand, the chosen reply has the higher one in most rows",
    remedy="the columns chosen and rejected may be swapped: rename_columns, or pass expert=None",
    reference="CarperAI/trlx#474; modelscope/ms-swift#9370",
)
def pairs_order(case: Case) -> Verdict:
    """The chosen reply is the better one, as scores or an Expert say."""
    rows = [row for row in case.rows if "chosen" in row and "rejected" in row]
    if not rows:
        raise NotTestable("no columns chosen and rejected")
    score = next((p for p in ("score", "rating", "reward") if f"{p}_chosen" in rows[0]), None)
    forms = [(f"{p}_chosen", f"{p}_rejected") for p in ("score", "rating", "reward")]
    forms += [(f"chosen_{p}", f"rejected_{p}") for p in ("score", "rating", "reward")]
    form = next((f for f in forms if f[0] in rows[0] and f[1] in rows[0]), None)
    del score
    if form is not None:
        wins = [
            float(row[form[0]]) > float(row[form[1]])
            for row in rows
            if row[form[0]] != row[form[1]]
        ]
        source = f"columns {form[0]} and {form[1]}"
    elif case.expert is not None:
        prompts = [text_of(row.get("prompt")) for row in rows]
        first = case.expert(prompts, [text_of(row["chosen"]) for row in rows])
        second = case.expert(prompts, [text_of(row["rejected"]) for row in rows])
        wins = [a > b for a, b in zip(first, second, strict=True) if a != b]
        source = "the expert"
    else:
        return _pairs_by_form(rows)
    if len(wins) < 8:
        return not_tested(f"{source}: only {len(wins)} pairs have different scores")
    share = sum(wins) / len(wins)
    # Below a half by more than two standard errors.
    bound = 0.5 - 1.0 / len(wins) ** 0.5
    return verdict(
        share >= bound,
        f"by {source} the chosen reply is the better one in {share:.0%} of {len(wins)} pairs "
        f"(at least {bound:.0%})",
        share=round(share, 4),
        pairs=len(wins),
    )


def _pairs_by_form(rows: list[dict[str, Any]]) -> Verdict:
    """Without an outside source, only chosen replies that are plainly broken can be seen."""

    def broken(text: str) -> bool:
        words = text.split()
        return not words or (len(words) >= 8 and len(set(words)) / len(words) < 0.3)

    chosen = sum(broken(text_of(row["chosen"])) for row in rows)
    rejected = sum(broken(text_of(row["rejected"])) for row in rows)
    if chosen >= 4 and chosen > 2 * rejected and chosen / len(rows) > 0.25:
        return failed(
            f"{chosen} of {len(rows)} chosen replies are empty or repeat themselves, and "
            f"{rejected} of the rejected ones",
            broken_chosen=chosen,
            broken_rejected=rejected,
        )
    return not_tested(
        "which reply is better needs an outside source: pass expert=, or score columns",
        broken_chosen=chosen,
        broken_rejected=rejected,
    )


@check(
    "labels-vary",
    "data",
    kinds=("kto", "plain", "reward"),
    expected="both desirable and undesirable rows; more than one class; no label for all",
    remedy="check the label column: KTO needs both True and False",
    reference="docs/guide/preflight.md",
)
def labels_vary(case: Case) -> Verdict:
    """Labels are not all the same."""
    name = next((c for c in ("label", "labels", "label_ids") if c in case.rows[0]), None)
    if name is None or isinstance(case.rows[0][name], list):
        raise NotTestable("rows have no single label")
    counts = Counter(str(row[name]) for row in case.rows)
    if len(case.rows) < 4:
        return not_tested(f"{len(case.rows)} rows are too few")
    rarest = min(counts.values()) if len(counts) > 1 else 0
    return verdict(
        len(counts) > 1,
        f"labels of {len(case.rows)} sampled rows: "
        + ", ".join(f"{k}: {v}" for k, v in counts.most_common(6)),
        labels=dict(counts),
        rarest=rarest,
    )


@check(
    "reply-without-prompt",
    "data",
    expected="replies do not begin with their own prompt",
    remedy="leave the prompt out of completion, chosen and rejected: the trainer puts it first",
    reference="docs/guide/preflight.md",
)
def reply_without_prompt(case: Case) -> Verdict:
    """The prompt is not in the reply a second time."""
    rows = [row for row in case.rows if text_of(row.get("prompt")).strip()]
    names = [c for c in ("completion", "chosen") if rows and c in rows[0]]
    if not names:
        raise NotTestable("rows have no prompt beside a reply")
    repeated = 0
    for row in rows:
        prompt = "".join(text_of(row["prompt"]).split())
        # RewardTrainer itself writes the prompt into both replies.
        prompt = prompt * 2 if case.subject.kind == "reward" else prompt
        repeated += "".join(text_of(row[names[0]]).split()).startswith(prompt)
    share = repeated / len(rows)
    return verdict(
        share < 0.25,
        f"{repeated} of {len(rows)} sampled replies begin with their whole prompt",
        repeated=repeated,
        rows=len(rows),
    )


@check(
    "prompt-fits-reply",
    "data",
    expected="a reply shares more words with its own prompt than with that of another row",
    remedy="a map(), shuffle() or zip may have mixed the columns: build pairs row by row",
    reference="docs/guide/preflight.md",
)
def prompt_fits_reply(case: Case) -> Verdict:
    """Prompt and reply of a row belong together, by the rare words they share."""
    rows = [row for row in case.rows if "prompt" in row]
    name = next(
        (c for c in ("completion", "chosen", "answer", "solution") if rows and c in rows[0]), ""
    )
    if not name:
        raise NotTestable("rows have no prompt beside a reply")
    asked = [_words(text_of(row["prompt"])) for row in rows]
    said = [_words(text_of(row[name])) for row in rows]
    held = Counter(w for words in asked for w in words)
    n = len(rows)

    def overlap(i: int, j: int) -> float:
        return sum(1.0 / held[w] for w in asked[i] & said[j] if held[w] < max(n / 2, 2))

    if n < 8:
        return not_tested(f"{n} rows are too few")
    own = [overlap(i, i) for i in range(n)]
    best = [max((overlap(i, j), j) for j in range(n) if j != i) for i in range(n)]
    # Rows whose words turn up in another reply, and not in their own.
    elsewhere = sum(b > 0.3 and b > 2 * o for (b, _), o in zip(best, own, strict=True))
    at_home = sum(o > 0.3 and o >= b for (b, _), o in zip(best, own, strict=True))
    figures = {"at_home": at_home, "elsewhere": elsewhere, "rows": n}
    if at_home + elsewhere < max(6, n // 5):
        return not_tested("prompts and replies share too few rare words to tell", **figures)
    return verdict(
        elsewhere <= at_home,
        f"of {n} prompts, {at_home} share most rare words with their own reply and {elsewhere} "
        "with that of another row",
        **figures,
    )


def _words(text: str) -> set[str]:
    return {w for w in re.findall(r"\w{3,}", text.lower()) if w not in _STOP}


@check(
    "template-applied-once",
    "data",
    expected="messages hold no chat markers of their own",
    remedy="pass plain messages, or text that the template was applied to once, not both",
    reference="huggingface/trl#1400",
)
def template_applied_once(case: Case) -> Verdict:
    """No row spells the tokenizer's control tokens where the trainer adds them again."""
    tokenizer = case.subject.tokenizer
    specials = {str(t) for t in getattr(tokenizer, "all_special_tokens", []) if len(str(t)) > 3}
    template = str(getattr(tokenizer, "chat_template", None) or "")
    specials |= set(re.findall(r"<\|[a-z_]+\|>", template))
    column = next(
        (c for c in ("messages", "prompt", "chosen", "completion") if c in case.rows[0]), ""
    )
    if not column or not isinstance(case.rows[0][column], list) or not template:
        raise NotTestable("rows are not messages that a chat template renders")
    marked = sum(any(s in text_of(row[column]) for s in specials) for row in case.rows)
    return verdict(
        marked / len(case.rows) < 0.1,
        f"{marked} of {len(case.rows)} sampled rows spell control tokens inside their messages",
        marked=marked,
        rows=len(case.rows),
    )
