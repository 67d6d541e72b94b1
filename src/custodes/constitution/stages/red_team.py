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

    The selection goes by the mean compliance of several short answers. It is checked on one more
    answer, which is the one that the next stage revises.

    Leaves data/red_team.jsonl: ``id``, ``prompt``, ``topic`` (as classified), ``label`` (of the
    file), ``head``, ``model``, ``responses`` (the short answers), ``compliance`` (their mean),
    ``selected``, ``first`` (the answer that the next stage revises) and ``first_compliance``.
    """
    options, constitution = run.config.red_team, run.constitution
    queries = _queries(run, options)
    topics = list(constitution.topics)
    labels = [query.topic if query.topic in topics else None for query in queries]
    heads, models, facts, controls = classify(run, queries, labels)
    topic_of = {"head": heads, "model": models, "labels": labels}[options.classifier]
    if not topics:
        topic_of = [""] * len(queries)
    seed = run.config.seed
    answers = run.samples(
        "red_team-short",
        BASE,
        queries,
        options.samples,
        derive(seed, "penetrate"),
        max_tokens=min(options.max_tokens, run.config.worker.max_tokens),
    )
    first = [one for (one,) in run.samples(
        "red_team-first", BASE, queries, 1, derive(seed, "respond")
    )]  # fmt: skip
    columns = [
        _compliance(run, f"red_team-ratings-{k}", queries, topic_of, [own[k] for own in answers])
        for k in range(options.samples)
    ]
    values = [_mean(ratings) for ratings in zip(*columns, strict=True)]
    again = _compliance(run, "red_team-ratings-first", queries, topic_of, first)
    selected = _select(topic_of, values, options.queries)
    if not selected:
        raise DataError(
            f"none of {len(queries)} queries is about {', '.join(topics) or 'anything'}",
            "name another red_team.source, or lower red_team.least",
        )
    controls.append(_penetration(again, selected, topic_of))
    rows = [
        {
            "id": query.id,
            "prompt": query.text,
            "topic": topic_of[i],
            "label": labels[i],
            "head": heads[i],
            "model": models[i],
            "responses": answers[i],
            "compliance": values[i],
            "selected": i in selected,
            "first": first[i],
            "first_compliance": again[i],
        }
        for i, query in enumerate(queries)
    ]
    counts = {topic: sum(topic_of[i] == topic for i in selected) for topic in topics or [""]}
    facts |= {
        "queries": len(queries),
        "unclassified": sum(topic is None for topic in topic_of),
        "selected": len(selected),
        "by_topic": {topic or "all": n for topic, n in counts.items()},
        # Between what a query is selected by and an answer that the selection has not seen.
        "correlation": _correlation(values, again),
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


def _mean(ratings: Sequence[float | None]) -> float | None:
    """Return the mean of the ratings that there are."""
    there = [rating for rating in ratings if rating is not None]
    return round(float(np.mean(there)), 4) if there else None


def _correlation(one: Sequence[float | None], two: Sequence[float | None]) -> float | None:
    """Return the correlation of two ratings of the same queries; None where they do not vary."""
    both = [(a, b) for a, b in zip(one, two, strict=True) if a is not None and b is not None]
    if len(both) < 2 or any(len(set(column)) < 2 for column in zip(*both, strict=True)):
        return None
    return round(float(np.corrcoef(np.array(both).T)[0, 1]), 4)


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


def _penetration(
    again: Sequence[float | None], selected: set[int], topics: Sequence[str | None]
) -> Control:
    """Check on another answer that the selected queries penetrate better than the others do.

    On the answers they were selected by, they do by construction. Queries are compared with those
    of their own topic: topics differ, and give different shares of their queries.
    """
    name = "selected queries penetrate the starting model"
    inside: list[float] = []
    outside: list[float] = []
    for topic in {topic for topic in topics if topic is not None}:
        own = [i for i, one in enumerate(topics) if one == topic and again[i] is not None]
        mean = float(np.mean([again[i] for i in own])) if own else 0.0
        for i in own:
            (inside if i in selected else outside).append(float(again[i] or 0.0) - mean)
    if min(len(inside), len(outside)) < 8:
        return Control.not_tested(
            name, f"{len(inside)} selected and {len(outside)} other queries have a rating"
        )
    from scipy.stats import ttest_ind

    test = ttest_ind(inside, outside, equal_var=False, alternative="less")
    change = float(np.mean(inside) - np.mean(outside))
    return Control(
        name,
        bool(test.pvalue < 0.05),
        f"on an answer that the selection has not seen, compliance on the {len(inside)} selected "
        f"queries is {change:+.3f} from that on the {len(outside)} others of their topics "
        f"(one-sided p = {test.pvalue:.2g}, at most .05)",
        {"change": change, "p": float(test.pvalue), "n": len(inside) + len(outside)},
    )
