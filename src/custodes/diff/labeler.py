"""Hypotheses in words: a language model proposes what changed, another one checks it blind.

The proposer sees one half of the prompts, with the sides' names hidden. The judge sees single
responses of the other half, not whose they are, and answers one question about each, with the
two possible answers offered in both orders. Idea: Zhong et al., "Goal Driven Discovery of
Distributional Differences" (NeurIPS 2023).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from custodes.conversation import Chat, user_chat
from custodes.diff.compare import Diff
from custodes.diff.inference.effects import measure
from custodes.diff.inference.findings import Finding
from custodes.diff.inference.hypotheses import FAMILIES
from custodes.diff.inference.randomization import SignFlips
from custodes.errors import DataError
from custodes.models.base import LanguageModel, Sampling
from custodes.text import one_line

__all__ = ["Labelled", "label", "main_share", "read_answer", "read_proposals", "with_labels"]

FEWEST_PROMPTS = 20
ROUNDS, PAIRS_SHOWN = 4, 4
MOST_CHARACTERS = 500
COUNT = 3
MOST_WORDS = 25

PROPOSE = """Two writers, X and Y, answered the same questions.

{pairs}

What do the answers of writer {more} do that those of writer {less} do not do, or do less? Name \
up to {count} differences of style or behaviour, not of topic: each must make sense for an answer \
to any question. Write each in at most ten words on a line of its own, in this form:
- The answer is polite.
- The answer gives examples."""

JUDGE = """Here is an answer to a question.

Question: {prompt}

Answer: {response}

Is the following statement true of the answer above?
Statement: {statement}

Reply with one word, {options}."""


@dataclass(frozen=True)
class Labelled:
    """What became of one hypothesis of the labeler.

    Attributes:
        finding: The hypothesis as a finding, on the validation half; q is over all hypotheses
            of the labeler, within its share of the error budget.
        passed: Whether q is within the error rate asked for.
        abstained: Share of the judge's questions that it answered in neither order, or
            differently in the two. They count as "not shown", on both sides.
        right: How much more often one side shows it than the other: share of all validation
            pairs, abstentions among them.
        baseline: The same for a bag-of-words classifier of B against A that was trained on the
            discovery half: what needs no language model.
    """

    finding: Finding
    passed: bool
    abstained: float
    right: float
    baseline: float


def main_share(fdr: float) -> float:
    """Return the error rate that is left for the other families when a labeler takes part."""
    return fdr * len(FAMILIES) / (len(FAMILIES) + 1)


def label(
    diff: Diff,
    labeler: LanguageModel,
    judge: LanguageModel,
    *,
    fdr: float,
    judged: int = 60,
    most: int = 12,
    seed: int = 0,
) -> list[Labelled]:
    """Let a model propose differences on one half of the prompts and check them on the other.

    Args:
        diff: A comparison on shared prompts, made at ``main_share(fdr)``.
        labeler: Proposes.
        judge: Checks; it may be the same model.
        fdr: The error rate of the diff and these findings together.
        judged: Prompts of the validation half to judge: every hypothesis costs four short
            replies for each.
        most: Hypotheses to judge. Fewer cost less, and each of them needs less evidence.
        seed: Of the halves, of what is shown, and of the proposer's sampling.

    Raises:
        DataError: The prompts are not shared, or are too few for two halves.
    """
    aligned = diff.aligned
    if not aligned.paired or aligned.n < FEWEST_PROMPTS:
        raise DataError(
            f"{aligned.n} {'shared ' if aligned.paired else 'unshared '}prompts",
            f"a labeler needs {FEWEST_PROMPTS} shared prompts or more",
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(aligned.n)
    discovery, validation = order[: aligned.n // 2], order[aligned.n // 2 :][:judged]
    first = [[np.flatnonzero((aligned.unit == u) & (aligned.side == s))[0] for s in (0, 1)]
             for u in range(aligned.n)]  # fmt: skip
    pairs = [(aligned.texts[a], aligned.texts[b]) for a, b in first]
    proposed = _propose(labeler, aligned.prompts, pairs, discovery, seed)[:most]
    if not proposed:
        return []
    shown, abstained = _judge(judge, aligned.prompts, pairs, validation, proposed)
    baseline = _bag_of_words(pairs, discovery, validation)
    difference = (shown[:, :, 1] - shown[:, :, 0]).astype(np.float32)
    flips = SignFlips(sparse.csc_matrix(difference.T))
    # Two-sided: small labelers find what differs more often than they say it of the right side.
    p = flips.p_values(flips.observed, np.arange(len(proposed)))
    q = _step_up(p) * (len(FAMILIES) + 1)
    labelled = []
    for k, statement in enumerate(proposed):
        finding = _finding(
            diff, statement, shown[k], validation, p=float(p[k]), q=float(q[k]), number=k
        )
        labelled.append(
            Labelled(
                finding,
                bool(q[k] <= fdr),
                float(abstained[k]),
                abs(finding.size.effect),
                baseline,
            )
        )
    return sorted(labelled, key=lambda one: (not one.passed, -abs(one.finding.size.effect)))


def _propose(
    labeler: LanguageModel,
    prompts: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    discovery: NDArray[np.intp],
    seed: int,
) -> list[str]:
    """Ask for differences in both directions; which writer is B is hidden and changes."""
    rng = np.random.default_rng([seed, 1])
    chats: list[Chat] = []
    for _ in range(ROUNDS):
        b_is_y = bool(rng.integers(2))
        for more in "XY":
            chosen = rng.choice(discovery, min(PAIRS_SHOWN, len(discovery)), replace=False)
            listed = []
            for u in chosen:
                x, y = pairs[u] if b_is_y else pairs[u][::-1]
                listed.append(f"Question: {_cut(prompts[u])}\nX: {_cut(x)}\nY: {_cut(y)}")
            question = PROPOSE.format(
                more=more, less="Y" if more == "X" else "X", pairs="\n\n".join(listed), count=COUNT
            )
            chats.append(user_chat(question))
    replies = labeler.generate(chats, Sampling(max_tokens=160, temperature=0.7, seed=seed))
    listed_by = [read_proposals(reply) for (reply,) in replies]
    # The first of every reply before the second of any: both directions and all rounds count.
    found = [said[k] for k in range(COUNT) for said in listed_by if k < len(said)]
    return list(dict.fromkeys(found))


def read_proposals(reply: str) -> list[str]:
    """Read the properties out of a labeler's reply: listed lines that begin "The answer".

    >>> read_proposals("Sure!\\n- The answer is polite.\\n2. The answers use lists")
    ['The answer is polite', 'The answer use lists']
    """
    out = []
    for line in reply.splitlines():
        listed = re.match(r"\s*(?:[-*•]|\d+[.)])\s*(?:the )?answers?\b(.*)", line, re.IGNORECASE)
        if not listed:
            continue
        words = one_line(listed[1], 300).strip(" .:*-").split()
        # A judge sees one answer: what compares, or names a writer, cannot be true of it.
        if re.search(r"\b[XY]\b|\bthan\b", " ".join(words)):
            continue
        if 1 < len(words) <= MOST_WORDS:
            out.append("The answer " + " ".join(words))
    return out


def _judge(
    judge: LanguageModel,
    prompts: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    validation: NDArray[np.intp],
    proposed: Sequence[str],
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Ask of every response whether a statement is true of it, the answers in both orders.

    Returns:
        1 where it is said to be shown in both orders, shape (hypotheses, prompts, 2), and the
        share of responses on which the judge abstained, by hypothesis.
    """
    chats: list[Chat] = [
        user_chat(
            JUDGE.format(
                prompt=_cut(prompts[u]), response=_cut(response), statement=statement,
                options=options,
            )
        )
        for statement in proposed
        for u in validation
        for response in pairs[u]
        for options in ("yes or no", "no or yes")
    ]  # fmt: skip
    replies = judge.generate(chats, Sampling(max_tokens=4, temperature=0))
    answers = np.array([read_answer(reply) for (reply,) in replies], np.int8)
    answers = answers.reshape(len(proposed), len(validation), 2, 2)
    agreed = (answers[..., 0] == answers[..., 1]) & (answers[..., 0] >= 0)
    shown = (agreed & (answers[..., 0] == 1)).astype(np.int8)
    return shown, 1 - agreed.mean(axis=(1, 2))


def read_answer(reply: str) -> int:
    """Read a judge's word: 1 for yes, 0 for no, -1 for anything else.

    >>> [read_answer(r) for r in ("Yes.", " no", "Yes and no", "It does")]
    [1, 0, -1, -1]
    """
    word = re.fullmatch(r"\W*(yes|no)\W*", reply.strip(), re.IGNORECASE)
    return -1 if word is None else int(word[1].lower() == "yes")


def _bag_of_words(
    pairs: Sequence[tuple[str, str]],
    discovery: NDArray[np.intp],
    validation: NDArray[np.intp],
) -> float:
    """Return how much more often B than A gets the higher score of a bag of words."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    counter = CountVectorizer(binary=True, token_pattern=r"\w+|[^\w\s]")
    train = [pairs[u][s] for s in (0, 1) for u in discovery]
    try:
        words = counter.fit_transform(train)
    except ValueError:  # Not one token in any response.
        return 0.0
    model = LogisticRegression(C=0.1, max_iter=500)
    model.fit(words, np.repeat([0, 1], len(discovery)))
    score = [
        model.decision_function(counter.transform([pairs[u][s] for u in validation]))
        for s in (0, 1)
    ]
    return float(np.sign(score[1] - score[0]).mean())


def _step_up(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Benjamini & Hochberg's adjusted p-values."""
    order = np.argsort(p, kind="stable")
    adjusted = p[order] * len(p) / np.arange(1, len(p) + 1)
    out = np.empty(len(p))
    out[order] = np.minimum(1, np.minimum.accumulate(adjusted[::-1])[::-1])
    return out


def _finding(
    diff: Diff,
    statement: str,
    shown: NDArray[np.int8],
    validation: NDArray[np.intp],
    *,
    p: float,
    q: float,
    number: int,
) -> Finding:
    size = measure(shown[:, 0].astype(float), shown[:, 1].astype(float), paired=True)
    ids = diff.aligned.ids
    evidence = [
        tuple(ids[u] for u, yes in zip(validation, shown[:, s], strict=True) if yes) for s in (0, 1)
    ]
    more = "more" if size.effect > 0 else "less"
    sentence = f"of {diff.aligned.names[1]} this is true {more} often: {statement}"
    rates = f" ({size.rate_a:.1%} → {size.rate_b:.1%} of {len(validation)} judged prompts)"
    return Finding(
        f"L{number + 1}", "llm", sentence + rates, statement, None, size, p, min(1.0, q),
        evidence[0], evidence[1],
    )  # fmt: skip


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


def with_labels(diff: Diff, labelled: Sequence[Labelled]) -> Diff:
    """Add the hypotheses that passed to a diff's findings, in their order by |effect|."""
    added = [one.finding for one in labelled if one.passed]
    findings = sorted([*diff.findings, *added], key=lambda f: (-abs(f.size.effect), f.p))
    return replace(diff, findings=tuple(findings))
