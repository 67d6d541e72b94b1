"""Red team: which topic a query is about, and how well it penetrates the starting model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from custodes.constitution.config import RedTeamOptions
from custodes.constitution.context import AlignRun, StageResult
from custodes.constitution.principles import Constitution
from custodes.constitution.stages.topics import classify
from custodes.control import Control
from custodes.conversation import Query
from custodes.data.datasets import read_prompts
from custodes.errors import DataError
from custodes.oversight.worker import BASE
from custodes.seeds import derive

__all__ = ["red_team"]


def red_team(run: AlignRun) -> StageResult:
    """Classify the queries, try them on the starting model, and select those that penetrate it.

    Leaves data/red_team.jsonl: ``id``, ``prompt``, ``topic`` (as classified), ``label`` (of the
    file), ``head``, ``model``, ``response``, ``compliance``, ``selected`` and ``first``, the
    answer that the next stage revises.
    """
    options, constitution = run.config.red_team, run.constitution
    queries = _queries(run, options)
    topics = list(constitution.topics)
    labels = [query.topic if query.topic in topics else None for query in queries]
    heads, models, facts, controls = classify(run, queries, labels)
    topic_of = {"head": heads, "model": models, "labels": labels}[options.classifier]
    if not topics:
        topic_of = [""] * len(queries)
    answers = run.samples("red_team-first", BASE, queries, 1, derive(run.config.seed, "penetrate"))
    fresh = run.samples("red_team-second", BASE, queries, 1, derive(run.config.seed, "respond"))
    values = _compliance(run, "red_team-ratings", queries, topic_of, [a[0] for a in answers])
    again = _compliance(run, "red_team-ratings-2", queries, topic_of, [a[0] for a in fresh])
    selected = _select(topic_of, values, options.queries)
    if not selected:
        raise DataError(
            f"none of {len(queries)} queries is about {', '.join(topics) or 'anything'}",
            "name another red_team.source, or lower red_team.least",
        )
    controls.append(_penetration(again, selected))
    rows = [
        {
            "id": query.id,
            "prompt": query.text,
            "topic": topic_of[i],
            "label": labels[i],
            "head": heads[i],
            "model": models[i],
            "response": answers[i][0],
            "compliance": values[i],
            "selected": i in selected,
            "first": fresh[i][0],
        }
        for i, query in enumerate(queries)
    ]
    counts = {topic: sum(topic_of[i] == topic for i in selected) for topic in topics or [""]}
    facts |= {
        "queries": len(queries),
        "unclassified": sum(topic is None for topic in topic_of),
        "selected": len(selected),
        "by_topic": {topic or "all": n for topic, n in counts.items()},
        "data": run.write("red_team", rows),
    }
    return StageResult(facts, controls)


def _queries(run: AlignRun, options: RedTeamOptions) -> list[Query]:
    queries = read_prompts(options.source, domain="", split="loop")
    if options.pool and options.pool < len(queries):
        rng = np.random.default_rng(derive(run.config.seed, "pool"))
        queries = [
            queries[i] for i in sorted(rng.permutation(len(queries))[: options.pool].tolist())
        ]
    return queries


# Penetration and selection


def _compliance(
    run: AlignRun,
    purpose: str,
    queries: Sequence[Query],
    topics: Sequence[str | None],
    texts: Sequence[str],
) -> list[float | None]:
    """Rate how far the starting model's answers comply with the principles of their topics."""
    values: list[float | None] = [None] * len(queries)
    for domain in run.constitution.measures:
        own = [
            i
            for i, topic in enumerate(topics)
            if topic is not None and _measure(run.constitution, topic) == domain
        ]
        if not own:
            continue
        asked = [queries[i] for i in own]
        rated = run.ratings(f"{purpose}-{domain}", domain, asked, [texts[i] for i in own])
        for i, rating in zip(own, rated, strict=True):
            principle = run.constitution.of(topics[i] or "")[0]
            values[i] = None if rating is None else round(principle.compliance(rating), 4)
    return values


def _measure(constitution: Constitution, topic: str) -> str:
    principles = constitution.of(topic)
    return principles[0].measure if principles else ""


def _select(topics: Sequence[str | None], values: Sequence[float | None], count: int) -> set[int]:
    """Take the same number of each topic, the queries first whose answers comply least."""
    names = sorted({topic for topic in topics if topic is not None})
    selected: set[int] = set()
    for place, name in enumerate(names):
        # What cannot be divided goes to the first topics.
        quota = count // len(names) + (place < count % len(names))
        own = [i for i, topic in enumerate(topics) if topic == name]
        own.sort(key=lambda i: (values[i] is None, values[i] or 0.0, i))
        selected |= set(own[:quota])
    return selected


def _penetration(again: Sequence[float | None], selected: set[int]) -> Control:
    """Check on answers drawn anew that the selected queries penetrate better than the others.

    On the answers they were selected by, they do by construction.
    """
    name = "selected queries penetrate the starting model"
    inside = [v for i, v in enumerate(again) if i in selected and v is not None]
    outside = [v for i, v in enumerate(again) if i not in selected and v is not None]
    if min(len(inside), len(outside)) < 8:
        return Control.not_tested(
            name, f"{len(inside)} selected and {len(outside)} other queries have a rating"
        )
    from scipy.stats import ttest_ind

    test = ttest_ind(inside, outside, equal_var=False, alternative="less")
    mine, others = float(np.mean(inside)), float(np.mean(outside))
    return Control(
        name,
        bool(test.pvalue < 0.05),
        f"on answers drawn anew, compliance is {mine:.2f} on the {len(inside)} selected queries "
        f"and {others:.2f} on the {len(outside)} others (one-sided p = {test.pvalue:.2g}, at most "
        ".05)",
        {"selected": mine, "others": others, "p": float(test.pvalue)},
    )
