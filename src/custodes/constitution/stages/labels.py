"""People's labels, and the controls that every source of labels has to pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from custodes.constitution.config import PeopleSource
from custodes.constitution.context import HELPFULNESS, AlignRun
from custodes.constitution.principles import Principle
from custodes.control import Control
from custodes.conversation import Query
from custodes.data.labels import Label, are_labels, labels_of
from custodes.data.overlap import normalised
from custodes.data.tables import Row, open_table
from custodes.errors import DataError
from custodes.experts.expert import DOMAINS
from custodes.experts.judges.order_swap import wilson
from custodes.labels import summary
from custodes.statistics import bootstrap_mean
from custodes.text import one_line

if TYPE_CHECKING:
    from custodes.constitution.stages.preferences import Pair

__all__ = ["People", "people_labels", "read_votes", "source_facts", "verdict_controls"]

LEAST = 20
"""Pairs below which labels are not compared with chance."""

ONE_WAY = 0.95
"""Share of labels for the answer shown first (or second) from which on they say nothing."""

FOLLOWS_LENGTH = 0.9


@dataclass(frozen=True)
class Vote:
    """One person's answer.

    Attributes:
        prompt: The last message of the conversation.
        chosen: The answer they preferred; of a tie, one of the two.
        rejected: The other.
        annotator: Who; "" where the file does not say.
        tie: Whether they preferred neither.
    """

    prompt: str
    chosen: str
    rejected: str
    annotator: str
    tie: bool = False


@dataclass(frozen=True)
class People:
    """People's labels.

    Attributes:
        labels: For each pair of the run: the share of annotators who preferred ``a``, None where
            nobody saw it.
        more: Pairs that only the file has: query, two answers, principle.
        more_labels: Their labels.
        facts: Votes, annotators and pairs, JSON-ready.
        controls: Whether the columns may be swapped.
    """

    labels: list[float | None]
    more: list[tuple[Query, str, str, Principle]]
    more_labels: list[float | None]
    facts: dict[str, Any] = field(default_factory=dict)
    controls: list[Control] = field(default_factory=list)


def people_labels(run: AlignRun, source: PeopleSource, pairs: Sequence[Pair], seed: int) -> People:
    """Read people's votes on the run's pairs, and on pairs of their own.

    Raises:
        DataError: The file is missing or malformed, or chosen equals rejected.
    """
    path = Path(source.file)
    comparisons = run.path("comparisons")
    if path.suffix and not path.exists():
        raise DataError(
            f"there are no labels at {path}",
            f"let people label {comparisons} (custodes label), then run the same command again",
        )
    votes, controls = read_votes(source.file)
    table: dict[tuple[str, frozenset[str]], list[Vote]] = {}
    for vote in votes:
        key = (normalised(vote.prompt), frozenset((vote.chosen, vote.rejected)))
        table.setdefault(key, []).append(vote)
    labels: list[float | None] = []
    for pair in pairs:
        own = table.pop((normalised(pair.query.text), frozenset((pair.a, pair.b))), [])
        labels.append(_share(own, pair.a))
    more: list[tuple[Query, str, str, Principle]] = []
    more_labels: list[float | None] = []
    rng = np.random.default_rng(seed)
    principle = run.constitution.principles[0]
    for own in table.values():
        first, second = own[0].chosen, own[0].rejected
        if rng.integers(2):
            first, second = second, first
        chat = ({"role": "user", "content": own[0].prompt},)
        query = Query(f"people-{len(more)}", chat, "", principle.topic)  # type: ignore[arg-type]
        more.append((query, first, second, principle))
        more_labels.append(_share(own, first))
    facts = {
        "file": path.name,
        "votes": len(votes),
        "annotators": len({vote.annotator for vote in votes}),
        "pairs_of_the_run": sum(label is not None for label in labels),
        "further_pairs": len(more),
    }
    return People(labels, more, more_labels, facts, [*controls, _columns(run, votes)])


def read_votes(source: str | Path) -> tuple[list[Vote], list[Control]]:
    """Read votes: the labels of `custodes label`, or rows of prompt, chosen and rejected.

    Of labels, repeats and skipped items do not count. Ties do not say what they are between, so
    they count only through the other annotators of their item.

    Returns:
        The votes, and the controls of labels: agreement, repeated items, sides.

    Raises:
        DataError: The file is missing, empty or malformed; the message has the line number.
    """
    table, ours = are_labels(open_table(source))
    if ours:
        labels = labels_of(table)
        return _votes_of(labels), list(summary(labels).controls)
    votes = []
    for row in table.rows:
        prompt, chosen, rejected = (_text(row, name) for name in ("prompt", "chosen", "rejected"))
        if chosen == rejected:
            raise DataError(f"{row.where}: chosen and rejected are the same", "remove the line")
        votes.append(Vote(prompt, chosen, rejected, str(row.values.get("annotator", ""))))
    if not votes:
        raise DataError(f"{table.name} is empty", "put at least one line in it")
    return votes, []


def _votes_of(labels: Sequence[Label]) -> list[Vote]:
    counted = [label for label in labels if label.choice != "skip" and not label.repeat]
    texts = {
        label.item: (label.chosen, label.rejected) for label in counted if label.choice != "tie"
    }
    votes = []
    for label in counted:
        chosen, rejected = texts.get(label.item, (None, None))
        if label.choice != "tie":
            chosen, rejected = label.chosen, label.rejected
        if chosen is not None and rejected is not None:
            prompt, tie = label.prompt[-1]["content"], label.choice == "tie"
            votes.append(Vote(prompt, chosen, rejected, label.annotator, tie))
    return votes


def _text(row: Row, name: str) -> str:
    value = row.values.get(name)
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        value = value[-1].get("content")
    if not isinstance(value, str) or not value.strip():
        columns = ", ".join(one_line(str(key), 40) for key in list(row.values)[:20])
        raise DataError(f"{row.where} has no text in {name}", f"it has {columns or 'nothing'}")
    return value


def _share(votes: Sequence[Vote], text: str) -> float | None:
    """Return the share of votes for an answer, ties counting half; None without votes."""
    if not votes:
        return None
    return sum(0.5 if vote.tie else float(vote.chosen == text) for vote in votes) / len(votes)


def _columns(run: AlignRun, votes: Sequence[Vote]) -> Control:
    """Check by an Expert that the chosen answers are not the worse ones throughout."""
    name = "chosen and rejected are not swapped in people's labels"
    measure = run.constitution.measures[0] if run.constitution.measures else HELPFULNESS
    if len(votes) < LEAST:
        return Control.not_tested(name, f"{len(votes)} votes are too few to tell")
    queries = [Query(str(i), ({"role": "user", "content": v.prompt},)) for i, v in enumerate(votes)]
    texts = [*(v.chosen for v in votes), *(v.rejected for v in votes)]
    rated = run.ratings("people-ratings", measure, [*queries, *queries], texts)
    principle = run.constitution.principles[0]
    gaps = [
        principle.compliance(c) - principle.compliance(r)
        for c, r in zip(rated[: len(votes)], rated[len(votes) :], strict=True)
        if c is not None and r is not None
    ]
    if len(gaps) < LEAST:
        return Control.not_tested(name, f"the Expert rates {len(gaps)} of {len(votes)} votes")
    gap = bootstrap_mean(gaps)
    return Control(
        name,
        gap.high > 0,
        f"the Expert for {measure} rates the chosen answers {gap.mean:+.3f} "
        f"[{gap.low:+.3f}, {gap.high:+.3f}] against the rejected (must not be below 0)",
        {"gap": gap.mean, "low": gap.low, "high": gap.high, "n": gap.n},
    )


# What every source has to pass


def verdict_controls(pairs: Sequence[Pair], seed: int) -> list[Control]:
    """Check that the labels follow the sources' verdicts, and are about the answers.

    Args:
        pairs: Pairs with a label.
        seed: Shuffles verdicts.
    """
    controls = [_both_ways(pairs)]
    for name in dict.fromkeys(name for pair in pairs for name in pair.labels):
        controls.append(_follows(name, pairs, seed))
    controls.append(_length(pairs))
    return controls


def _both_ways(pairs: Sequence[Pair]) -> Control:
    name = "labels go both ways"
    if len(pairs) < LEAST:
        return Control.not_tested(name, f"{len(pairs)} pairs are too few to tell")
    share = sum((pair.label or 0.0) > 0.5 for pair in pairs) / len(pairs)
    return Control(
        name,
        1 - ONE_WAY < share < ONE_WAY,
        f"{share:.0%} of {len(pairs)} labels are for the answer shown first, in random order "
        f"(between {1 - ONE_WAY:.0%} and {ONE_WAY:.0%} must be)",
        {"share": share, "n": len(pairs)},
    )


def _follows(name: str, pairs: Sequence[Pair], seed: int) -> Control:
    """Compare the label of each pair with the source's own verdict, and with a shuffled one.

    A label that ignores the verdict agrees with both about equally often; so does a verdict that
    is always the same.
    """
    title = f"labels follow the verdicts: {name}"
    own = [
        (p.labels[name], p.label)
        for p in pairs
        if p.labels.get(name) is not None and p.labels[name] != 0.5
    ]
    if len(own) < LEAST:
        return Control.not_tested(title, f"it has a verdict on {len(own)} pairs")
    verdicts = np.array([v > 0.5 for v, _ in own if v is not None])
    labels = np.array([(label or 0.0) > 0.5 for _, label in own])
    agree = wilson(int((verdicts == labels).sum()), len(own))
    shuffled = np.random.default_rng(seed).permutation(verdicts)
    chance = float((shuffled == labels).mean())
    return Control(
        title,
        agree.low > max(0.5, chance),
        f"the label is the source's own verdict in {agree.mean:.0%} of {agree.n} pairs "
        f"[{agree.low:.0%}, {agree.high:.0%}], and in {chance:.0%} with its verdicts shuffled "
        "among the pairs (the interval must be above that, and above 50%)",
        {"agree": agree.mean, "low": agree.low, "shuffled": chance, "n": agree.n},
    )


def _length(pairs: Sequence[Pair]) -> Control:
    """Check that the preferred answer is not simply the longer or the shorter one."""
    name = "length does not make the labels"
    own = [p for p in pairs if p.principle.measure in DOMAINS and len(p.a) != len(p.b)]
    if len(own) < LEAST:
        return Control.not_tested(name, f"{len(own)} pairs are about something other than style")
    longer = sum((len(p.a) > len(p.b)) == ((p.label or 0.0) > 0.5) for p in own) / len(own)
    return Control(
        name,
        1 - FOLLOWS_LENGTH < longer < FOLLOWS_LENGTH,
        f"the longer answer is preferred in {longer:.0%} of {len(own)} pairs (between "
        f"{1 - FOLLOWS_LENGTH:.0%} and {FOLLOWS_LENGTH:.0%} may be)",
        {"longer": longer, "n": len(own)},
    )


def source_facts(pairs: Sequence[Pair], weights: Mapping[str, float]) -> dict[str, Any]:
    """Compare the sources: how many pairs each labels, and how often two agree."""
    facts: dict[str, Any] = {}
    for name, weight in weights.items():
        labels = [p.labels[name] for p in pairs if p.labels.get(name) is not None]
        sure = [abs(label - 0.5) for label in labels if label is not None]
        facts[name] = {
            "weight": weight,
            "labels": len(labels),
            "confidence": round(float(np.mean(sure)) + 0.5, 4) if sure else None,
        }
    for one, two in combinations(weights, 2):
        both = [
            (a > 0.5) == (b > 0.5)
            for a, b in ((p.labels.get(one), p.labels.get(two)) for p in pairs)
            if a is not None and b is not None and 0.5 not in (a, b)
        ]
        agree = wilson(sum(both), len(both))
        facts[f"{one} and {two}"] = {
            "agree": round(agree.mean, 4) if both else None,
            "ci95": [round(agree.low, 4), round(agree.high, 4)],
            "pairs": len(both),
        }
    return facts
