"""Hypotheses in words: a language model proposes differences, a judge checks them blind.

The labeler sees one half of the prompts, with the names of the sides hidden. The judge sees single
responses of the other half without their side. It answers one question about each, with the two
possible answers in both orders. Idea: Zhong et al., "Goal Driven Discovery of
Distributional Differences" (NeurIPS 2023).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from custodes.control import Control
from custodes.conversation import Chat, user_chat
from custodes.diff.compare import Diff
from custodes.diff.inference.effects import measure
from custodes.diff.inference.findings import Finding
from custodes.diff.inference.hypotheses import FAMILIES
from custodes.diff.inference.randomization import SignFlips
from custodes.diff.inference.wording import percent
from custodes.diff.responses import Aligned
from custodes.errors import DataError
from custodes.experts.judges.order_swap import OrderSwap, preferences
from custodes.experts.judges.template import Choice
from custodes.models.base import LanguageModel, Sampling
from custodes.text import one_line

__all__ = [
    "Hypothesis",
    "Labeling",
    "label",
    "main_share",
    "read_answer",
    "read_proposals",
    "with_hypotheses",
]

FEWEST_PROMPTS = 20
ROUNDS, PAIRS_SHOWN = 4, 4
MOST_CHARACTERS = 500
COUNT = 3
MOST_WORDS = 25
ORDER_SWAP = "order swap: judge of the labeler"
# A judge replies with the option itself. As in any order swap, A is the option that comes first.
OPTIONS = (("yes", "no"), ("no", "yes"))

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
class Hypothesis:
    """A hypothesis of the labeler, and what the judge said of it.

    Attributes:
        finding: The hypothesis as a finding, on the validation half; q is over all hypotheses
            of the labeler, within its share of the error budget.
        passed: Whether q is within the tolerated error rate.
        abstained: Share of the judge's pairs of replies that were unreadable or contradicted each
            other. They count as "not shown", on both sides.
    """

    finding: Finding
    passed: bool
    abstained: float

    @property
    def separation(self) -> float:
        """How much more often one side shows it: a share of the validation prompts, in [0, 1]."""
        return abs(self.finding.size.effect)


@dataclass(frozen=True)
class Labeling:
    """The labeler's hypotheses, and the controls beside them.

    Attributes:
        hypotheses: Those that passed first, by falling |effect|.
        baseline: The separation by a bag-of-words classifier of B against A that was trained on
            the discovery half: what needs no language model. None without a hypothesis.
        control: Whether the judge's replies depend on the order of the options.
    """

    hypotheses: tuple[Hypothesis, ...]
    baseline: float | None
    control: Control


def main_share(fdr: float) -> float:
    """Return the error rate that is left for the other families if a labeler takes part."""
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
) -> Labeling:
    """Let a model propose differences on one half of the prompts, and check them on the other.

    Args:
        diff: A comparison on shared prompts, made at ``main_share(fdr)``.
        labeler: Proposes differences.
        judge: Checks them; it may be the same model.
        fdr: The error rate of the diff and these findings together.
        judged: Prompts of the validation half to judge. Every hypothesis costs four short replies
            for each.
        most: Hypotheses to judge. Fewer cost less, and each of them needs less evidence.
        seed: Draws the halves, the prompts shown to the labeler, and its replies.

    Raises:
        DataError: The prompts are not shared, or are too few for two halves.
    """
    aligned = diff.aligned
    if not aligned.paired or aligned.n < FEWEST_PROMPTS:
        raise DataError(
            f"{aligned.n} {'shared ' if aligned.paired else 'unshared '}prompts",
            f"a labeler needs {FEWEST_PROMPTS} shared prompts or more",
        )
    order = np.random.default_rng(seed).permutation(aligned.n)
    discovery, validation = order[: aligned.n // 2], order[aligned.n // 2 :][:judged]
    pairs = _first_responses(aligned)
    statements = _propose(labeler, aligned.prompts, pairs, discovery, seed)[:most]
    if not statements:
        reason = "the labeler proposed nothing, so the judge saw nothing"
        return Labeling((), None, Control.not_tested(ORDER_SWAP, reason))
    shown, abstained, swap = _judge(judge, aligned.prompts, pairs, validation, statements)
    difference = (shown[:, :, 1] - shown[:, :, 0]).astype(np.float32)
    flips = SignFlips(sparse.csc_matrix(difference.T))
    # Two-sided: small labelers see that something differs more often than on which side.
    p = flips.p_values(flips.observed, np.arange(len(statements)))
    q = _step_up(p) * (len(FAMILIES) + 1)
    hypotheses = [
        Hypothesis(
            finding=_finding(
                diff, text, shown[k], validation, p=float(p[k]), q=float(q[k]), number=k
            ),
            passed=bool(q[k] <= fdr),
            abstained=float(abstained[k]),
        )
        for k, text in enumerate(statements)
    ]
    return Labeling(
        hypotheses=tuple(sorted(hypotheses, key=lambda one: (not one.passed, -one.separation))),
        baseline=_bag_of_words(pairs, discovery, validation),
        control=replace(swap.control(), name=ORDER_SWAP),
    )


def _first_responses(aligned: Aligned) -> list[tuple[str, str]]:
    """Return the first response of A and of B to each prompt."""
    first = [
        [np.flatnonzero((aligned.unit == u) & (aligned.side == s))[0] for s in (0, 1)]
        for u in range(aligned.n)
    ]
    return [(aligned.texts[a], aligned.texts[b]) for a, b in first]


def _propose(
    labeler: LanguageModel,
    prompts: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    discovery: NDArray[np.intp],
    seed: int,
) -> list[str]:
    """Ask for differences in both directions; whether X or Y is B is drawn for every round."""
    rng = np.random.default_rng([seed, 1])
    chats: list[Chat] = []
    for _ in range(ROUNDS):
        b_is_y = bool(rng.integers(2))
        for more in "XY":
            examples = rng.choice(discovery, min(PAIRS_SHOWN, len(discovery)), replace=False)
            listed = []
            for u in examples:
                x, y = pairs[u] if b_is_y else pairs[u][::-1]
                listed.append(f"Question: {_cut(prompts[u])}\nX: {_cut(x)}\nY: {_cut(y)}")
            question = PROPOSE.format(
                more=more, less="Y" if more == "X" else "X", pairs="\n\n".join(listed), count=COUNT
            )
            chats.append(user_chat(question))
    replies = labeler.generate(chats, Sampling(max_tokens=160, temperature=0.7, seed=seed))
    lists = [read_proposals(reply) for (reply,) in replies]
    # The first of every list comes before the second of any: all rounds and directions count.
    proposals = [one[k] for k in range(COUNT) for one in lists if k < len(one)]
    return list(dict.fromkeys(proposals))


def read_proposals(reply: str) -> list[str]:
    """Read the proposals in a labeler's reply: list items that begin with "The answer".

    >>> read_proposals("Sure!\\n- The answer is polite.\\n2. The answers use lists")
    ['The answer is polite', 'The answer use lists']
    """
    out = []
    for line in reply.splitlines():
        listed = re.match(r"\s*(?:[-*•]|\d+[.)])\s*(?:the )?answers?\b(.*)", line, re.IGNORECASE)
        if not listed:
            continue
        words = one_line(listed[1], 300).strip(" .:*-").split()
        # A judge sees one answer, so a proposal must not compare two or name a writer.
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
    statements: Sequence[str],
) -> tuple[NDArray[np.int8], NDArray[np.float64], OrderSwap]:
    """Ask of every response whether a statement is true of it, with the options in both orders.

    Returns:
        1 where the judge says yes in both orders, shape (hypotheses, prompts, 2); the share of
        responses on which it abstains, by hypothesis; and how its replies depend on the order.
    """
    chats: list[Chat] = [
        user_chat(
            JUDGE.format(
                prompt=_cut(prompts[u]), response=_cut(response), statement=statement,
                options=" or ".join(options),
            )
        )
        for options in OPTIONS
        for statement in statements
        for u in validation
        for response in pairs[u]
    ]  # fmt: skip
    replies = judge.generate(chats, Sampling(max_tokens=4, temperature=0))
    half = len(chats) // 2
    forward, swapped = (
        [_choice(reply, options) for (reply,) in part]
        for options, part in zip(OPTIONS, (replies[:half], replies[half:]), strict=True)
    )
    verdicts = [preference.choice for preference in preferences(forward, swapped)]
    shape = (len(statements), len(validation), 2)
    shown = np.array([verdict == "a" for verdict in verdicts], np.int8).reshape(shape)
    abstained = np.array([verdict is None for verdict in verdicts]).reshape(shape)
    return shown, abstained.mean(axis=(1, 2)), OrderSwap.of(forward, swapped)


def _choice(reply: str, options: Sequence[str]) -> Choice | None:
    """Return A if a reply is the first option, B if it is the second, None for anything else."""
    answer = read_answer(reply)
    if answer is None:
        return None
    return "A" if answer == options[0] else "B"


def read_answer(reply: str) -> str | None:
    """Read a judge's reply of one word: "yes", "no", or None for anything else.

    >>> [read_answer(r) for r in ("Yes.", " no", "Yes and no", "It does")]
    ['yes', 'no', None, None]
    """
    word = re.fullmatch(r"\W*(yes|no)\W*", reply.strip(), re.IGNORECASE)
    return None if word is None else word[1].lower()


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
    sentence = f"of B's answers this is true {more} often, as the judge says: {statement}"
    rates = (
        f" ({percent(size.rate_b)} of {len(validation)} judged answers, A {percent(size.rate_a)})"
    )
    return Finding(
        id=f"L{number + 1}",
        kind="llm",
        statement=sentence + rates,
        behaviour=statement,
        condition=None,
        size=size,
        p=p,
        q=min(1.0, q),
        evidence_a=evidence[0],
        evidence_b=evidence[1],
    )


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


def with_hypotheses(diff: Diff, labeling: Labeling) -> Diff:
    """Add the hypotheses that passed to a diff's findings, sorted by |effect|."""
    added = [one.finding for one in labeling.hypotheses if one.passed]
    findings = sorted([*diff.findings, *added], key=lambda f: (-abs(f.size.effect), f.p))
    return replace(diff, findings=tuple(findings))
