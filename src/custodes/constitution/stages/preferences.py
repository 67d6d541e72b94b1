"""Preferences: answers of the current model, compared by a judge, by Experts or by people."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from custodes.constitution.comparisons import Comparison, transitivity
from custodes.constitution.config import ExpertSource, JudgeSource, PeopleSource
from custodes.constitution.context import HELPFULNESS, AlignRun, StageResult, query_of
from custodes.constitution.principles import Principle
from custodes.constitution.stages.critique import draw_principle
from custodes.constitution.stages.judge import Shown, judge_pairs
from custodes.constitution.stages.labels import (
    People,
    people_labels,
    source_facts,
    verdict_controls,
)
from custodes.constitution.stages.margins import margins_of
from custodes.control import Control
from custodes.conversation import Query
from custodes.data.datasets import read_prompts
from custodes.runs.lineage import Checkpoint
from custodes.seeds import derive
from custodes.training.reward.pairs import RewardPair

__all__ = ["Pair", "harm_queries", "help_queries", "make_preferences", "read_preferences"]

HELPFUL = Principle(
    id="helpfulness",
    critique="Where does the last reply fail to help?",
    revision="Write the reply again so that it helps more.",
    question="Which reply is more helpful: does what was asked, rightly and clearly?",
    measure=HELPFULNESS,
)
"""What answers to plain requests for help are compared by."""


@dataclass
class Pair:
    """Two answers to one query.

    Attributes:
        query: The query.
        a: One answer, shown first to people.
        b: The other.
        numbers: Their numbers among the query's answers.
        principle: What they are compared by.
        labels: By source: the probability that ``a`` is better, None where the source abstains.
        label: That of all sources together; None where all abstain.
        margin: Difference of the answers' scores in the query's ranking, in log-odds, >= 0.
    """

    query: Query
    a: str
    b: str
    numbers: tuple[int, int]
    principle: Principle
    labels: dict[str, float | None] = field(default_factory=dict)
    label: float | None = None
    margin: float = 0.0

    @property
    def id(self) -> str:
        """Hash of the content."""
        text = "\x1f".join((self.query.id, self.a, self.b))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def make_preferences(run: AlignRun, arm: str, number: int, parent: Checkpoint) -> StageResult:
    """Sample answers, compare them, and write the preferences.

    Leaves data/comparisons.jsonl, for `custodes label`, and data/preferences.jsonl: ``id``,
    ``prompt`` (messages), ``chosen``, ``rejected``, ``probability``, ``margin``, ``shown_first``,
    ``principle``, ``domain`` and ``sources`` (by name, the probability that the chosen one is
    better).

    Args:
        run: The run.
        arm: "" or "sham", which puts the answers of each pair in order by chance.
        number: The round, from 1.
        parent: The model that answers.

    Raises:
        DataError: A file of people's labels is missing or malformed.
    """
    options = run.config.preferences
    # The first round's sham arm has the very pairs of the other, since the same model answers.
    source = _mark("" if number == 1 else arm, number)
    seed = derive(run.config.seed, f"preferences{source}")
    helpful = round(options.prompts * options.helpful)
    queries = [
        *_drawn(harm_queries(run), options.prompts - helpful, derive(seed, "harm")),
        *_drawn(help_queries(run), helpful, derive(seed, "help")),
    ]
    answers = run.samples(
        f"preferences{source}", parent, queries, options.samples, derive(seed, "answers")
    )
    pairs = _pairs(run, queries, answers, seed)
    facts: dict[str, Any] = {"prompts": len(queries), "pairs": len(pairs)}
    if not arm:
        rows = [_comparison(pair) for pair in pairs]
        facts["comparisons"] = run.write(f"comparisons{source}", rows)
    pairs, controls = _label(run, pairs, source, facts)
    margins_of(pairs, options.most_margin)
    kept = [
        p for p in pairs if p.label is not None and abs(p.label - 0.5) > max(options.least, 1e-6)
    ]
    stop = ""
    if arm == "sham":
        controls = _toss(kept, derive(seed, "coins"))
    else:
        controls += verdict_controls(kept, derive(seed, "shuffle"))
        if kept:
            controls.append(transitivity(_compared(kept), seed=derive(seed, "circles")))
        stop = _reason_to_stop(kept, controls)
    mark = _mark(arm, number)
    facts |= {"kept": len(kept), "data": run.write(f"preferences{mark}", [_row(p) for p in kept])}
    return StageResult(facts, controls, stop)


def _compared(pairs: Sequence[Pair]) -> list[Comparison]:
    return [
        Comparison(pair.query.id, pair.a, pair.b, pair.label)
        for pair in pairs
        if pair.label is not None
    ]


def _toss(pairs: Sequence[Pair], seed: int) -> list[Control]:
    """Put the answers of each pair in order by chance; how sure the label is stays the same."""
    rng = np.random.default_rng(seed)
    turned = 0
    for pair in pairs:
        if pair.label is not None and rng.integers(2):
            pair.label, turned = round(1 - pair.label, 4), turned + 1
    if not pairs:
        return [Control.not_tested("sham labels are by chance", "no pair has a label")]
    share = turned / len(pairs)
    return [
        Control(
            "sham labels are by chance",
            abs(share - 0.5) <= 2 / len(pairs) ** 0.5,
            f"{share:.0%} of {len(pairs)} labels were turned round (half, within two standard "
            "errors, must be)",
            {"turned": share, "n": len(pairs)},
        )
    ]


def _reason_to_stop(kept: Sequence[Pair], controls: Sequence[Control]) -> str:
    if not kept:
        return "no pair has a label"
    for control in controls:
        if control.passed is False and control.name.startswith(("labels", "every source")):
            return f"{control.name}: {control.explanation}"
    return ""


def _mark(arm: str, number: int) -> str:
    return "".join(f"-{part}" for part in (arm, str(number) if number > 1 else "") if part)


# Prompts


def harm_queries(run: AlignRun, *, selected: bool = True) -> list[Query]:
    """Return the red team's queries; those of the source, with its labels, if it did not run."""
    if run.path("red_team").exists():
        rows = run.read("red_team", "red_team")
        usable = [row for row in rows if row["topic"] is not None]
        chosen = [row for row in usable if row["selected"]] if selected else usable
        return [query_of(row) for row in chosen]
    queries = read_prompts(run.config.red_team.source, domain="", split="loop")
    topics = run.constitution.topics
    return [query for query in queries if not topics or query.topic in topics]


def help_queries(run: AlignRun) -> list[Query]:
    """Return the requests for help; the shipped ones where the SL stage has demonstrations."""
    from custodes.data.shipped import SHIPPED

    source = run.config.sl.helpful if run.config.sl.helpful in SHIPPED else "everyday"
    return read_prompts(source, domain=HELPFULNESS, split="loop")


def _drawn(queries: Sequence[Query], count: int, seed: int) -> list[Query]:
    order = np.random.default_rng(seed).permutation(len(queries))[:count]
    return [queries[i] for i in order]


# Pairs and their labels


def _pairs(
    run: AlignRun, queries: Sequence[Query], answers: Sequence[Sequence[str]], seed: int
) -> list[Pair]:
    """Pair each query's distinct answers, in random order, under a principle drawn for it."""
    most = run.config.preferences.comparisons
    pairs = []
    for query, texts in zip(queries, answers, strict=True):
        rng = np.random.default_rng(derive(seed, "pairs", query.id))
        principle = (
            HELPFUL
            if query.domain == HELPFULNESS
            else draw_principle(run.constitution, query, seed, 0)
        )
        # An empty answer is an answer, but the same one twice is no pair.
        distinct = list(dict.fromkeys(texts))
        all_pairs = list(combinations(range(len(distinct)), 2))
        order = rng.permutation(len(all_pairs))[: most or None]
        for k in sorted(order.tolist()):
            i, j = all_pairs[k]
            if rng.integers(2):
                i, j = j, i
            pairs.append(Pair(query, distinct[i], distinct[j], (i, j), principle))
    return pairs


def _label(
    run: AlignRun, pairs: list[Pair], mark: str, facts: dict[str, Any]
) -> tuple[list[Pair], list[Control]]:
    """Ask all sources, and join their labels."""
    controls: list[Control] = []
    weights: dict[str, float] = {}
    trusted: list[bool] = []
    for number, source in enumerate(run.config.preferences.sources):
        match source:
            case JudgeSource():
                name = f"judge:{source.model}"
                shown = [Shown(p.query, p.a, p.b, p.principle.question) for p in pairs]
                judged = judge_pairs(run, f"judge{mark}-{number}", source, shown)
                labels = judged.labels
                controls += [judged.swap.control().about(name), judged.orders.about(name)]
                # A judge that reads letters off a text has no say but by consistent verdicts.
                sound = judged.orders if judged.probabilities else judged.swap.control()
                trusted.append(sound.passed is not False)
            case ExpertSource():
                name = "expert"
                labels = _by_expert(run, f"preferences{mark}-expert", pairs, source.sharpness)
                trusted.append(True)
            case PeopleSource():
                name = "people"
                people = people_labels(run, source, pairs, derive(run.config.seed, "people"))
                labels, pairs = _join(people, pairs)
                controls += people.controls
                facts["people"] = people.facts
                trusted.append(True)
        name = name if name not in weights else f"{name}#{number}"
        weights[name] = source.weight
        for pair, label in zip(pairs, labels, strict=True):
            pair.labels[name] = label
    if not any(trusted):
        controls.append(
            Control(
                "every source says more than the order",
                False,
                "no source but judges whose verdicts follow the order of the answers",
            )
        )
    for pair in pairs:
        pair.label = _joined(pair.labels, weights)
    facts["sources"] = source_facts(pairs, weights)
    return pairs, controls


def _join(people: People, pairs: list[Pair]) -> tuple[list[float | None], list[Pair]]:
    """Add the pairs that only people have seen."""
    added = [
        Pair(query, a, b, (0, 1), HELPFUL if query.domain == HELPFULNESS else principle)
        for query, a, b, principle in people.more
    ]
    return [*people.labels, *people.more_labels], [*pairs, *added]


def _joined(labels: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    """Return the weighted mean of the labels that there are."""
    there = [(label, weights[name]) for name, label in labels.items() if label is not None]
    if not there:
        return None
    return round(sum(p * w for p, w in there) / sum(w for _, w in there), 4)


def _by_expert(
    run: AlignRun, purpose: str, pairs: Sequence[Pair], sharpness: float
) -> list[float | None]:
    """Label by the difference of the answers' compliance, as the principle's Expert rates it."""
    ratings: dict[tuple[str, str], float | None] = {}
    for domain in dict.fromkeys(pair.principle.measure for pair in pairs):
        if not domain:
            continue
        asked = {
            (p.query.id, text): p.query
            for p in pairs
            if p.principle.measure == domain
            for text in (p.a, p.b)
        }
        texts = [text for _, text in asked]
        rated = run.ratings(f"{purpose}-{domain}", domain, list(asked.values()), texts)
        ratings |= dict(zip(asked, rated, strict=True))
    labels: list[float | None] = []
    for pair in pairs:
        a, b = (ratings.get((pair.query.id, text)) for text in (pair.a, pair.b))
        if a is None or b is None:
            labels.append(None)
            continue
        gap = pair.principle.compliance(a) - pair.principle.compliance(b)
        labels.append(round(float(1 / (1 + np.exp(-sharpness * gap))), 4))
    return labels


# Rows


def _comparison(pair: Pair) -> dict[str, Any]:
    return {
        "id": pair.id,
        "prompt": pair.query.text,
        "response_a": pair.a,
        "response_b": pair.b,
        "question": pair.principle.question,
    }


def _row(pair: Pair) -> dict[str, Any]:
    assert pair.label is not None
    first = pair.label > 0.5
    chosen, rejected = (pair.a, pair.b) if first else (pair.b, pair.a)
    return {
        "id": pair.id,
        "prompt": list(pair.query.chat),
        "chosen": chosen,
        "rejected": rejected,
        "probability": pair.label if first else round(1 - pair.label, 4),
        "margin": pair.margin,
        "shown_first": first,
        "principle": pair.principle.id,
        "domain": pair.principle.measure,
        "sources": {
            name: None if p is None else round(p if first else 1 - p, 4)
            for name, p in pair.labels.items()
        },
    }


def read_preferences(run: AlignRun, arm: str, number: int) -> list[RewardPair]:
    """Read the preferences of a round.

    Raises:
        RunError: They have not been made.
    """
    return [
        RewardPair(
            id=row["id"],
            prompt=tuple(row["prompt"]),
            chosen=row["chosen"],
            rejected=row["rejected"],
            probability=row["probability"],
            margin=row["margin"],
            shown_first=row["shown_first"],
        )
        for row in run.read(f"preferences{_mark(arm, number)}", "preferences")
    ]
