"""The audit at the end of a run: its Experts and its User are examined again.

The log is not enough to tell whether ratings were right. Here every Expert, and every member of an
ensemble, rates once more: answers of the log (are the logged ratings its own?), the answers behind
the gold score (does it agree with a measurement that the loop never saw?), and pairs whose order
nobody doubts. All of it is drawn from the log, so that a resumed run has the same audit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from custodes.experts.undoubted import order_control

from custodes.control import Control
from custodes.conversation import Query
from custodes.errors import CustodesError
from custodes.experts.expert import Expert
from custodes.oversight.events import StepEvent
from custodes.oversight.log import History
from custodes.statistics import correlation

__all__ = ["audit", "with_members"]

SAMPLE = 24
"""Logged answers that each Expert rates again."""
TOLERANCE = 0.05
"""How far a rating may be off when the same answer is rated again in another batch."""
LEAST_CORRELATION = 0.2
"""An Expert whose correlation with the gold score is certainly below this measures something else."""


def audit(
    experts: Mapping[str, Expert], gold_queries: Mapping[str, Sequence[Query]], history: History
) -> list[Control]:
    """Examine the Experts of a finished loop.

    Args:
        experts: The loop's Experts by domain.
        gold_queries: The gold prompts by domain.
        history: The run's events.
    """
    controls: list[Control] = []
    for domain, expert in experts.items():
        controls.append(_reproducible(expert, domain, history))
        for one in with_members(expert):
            controls += _examined(one, domain, gold_queries.get(domain, ()), history)
    return controls


def with_members(expert: Expert) -> Iterator[Expert]:
    """Yield an Expert and, of an ensemble, its members."""
    yield expert
    yield from getattr(expert, "members", ())


def _examined(
    expert: Expert, domain: str, gold_queries: Sequence[Query], history: History
) -> Iterator[Control]:
    subject = f"{expert.name}, {domain}"
    agreement, order = "Expert agrees with the gold score", "Expert orders undoubted pairs"
    if getattr(expert, "asks_a_person", False):
        reason = "a person is asked only about the answers of the loop"
        yield Control.not_tested(agreement, reason).about(subject)
        yield Control.not_tested(order, reason).about(subject)
        return
    try:
        yield _agrees(expert, domain, gold_queries, history, agreement).about(subject)
        yield order_control(expert, order).about(subject)
    except CustodesError as error:
        yield Control.not_tested(order, str(error)).about(subject)


def _reproducible(expert: Expert, domain: str, history: History) -> Control:
    """Rate logged answers again, in another order, and compare with the log."""
    name = f"ratings are reproducible: {expert.name}, {domain}"
    logged = [row for event in history.steps for row in _logged(event, domain)]
    if not logged:
        return Control.not_tested(name, "the log has no rating")
    # From all over the run, and backwards: no answer has the neighbours that it had.
    chosen = logged[:: max(1, len(logged) // SAMPLE)][:SAMPLE][::-1]
    again = expert.rate([query for query, _, _ in chosen], [text for _, text, _ in chosen])
    differences = [
        abs(rating.value - value)
        for rating, (_, _, value) in zip(again, chosen, strict=True)
        if rating.value is not None
    ]
    off = sum(d > TOLERANCE for d in differences) + (len(chosen) - len(differences))
    return Control(
        name,
        off <= len(chosen) // 8,
        f"{off} of {len(chosen)} logged ratings are not what the Expert says when it rates the "
        f"same answers again (within {TOLERANCE}; at most an eighth may be)",
        {"off": off, "answers": len(chosen), "largest": max(differences, default=None)},
    )


def _logged(event: StepEvent, domain: str) -> Iterator[tuple[Query, str, float]]:
    ratings = event.ratings.get(domain)
    for i, rating in zip(ratings.queries, ratings.clean, strict=True) if ratings else ():
        if rating.value is not None:
            yield event.queries[i], event.responses[i], rating.value


def _agrees(
    expert: Expert, domain: str, queries: Sequence[Query], history: History, name: str
) -> Control:
    """Correlate the Expert's ratings of the gold answers with their gold scores."""
    by_id = {query.id: query for query in queries}
    rows = [
        (by_id[i], text, score)
        for event in (
            history.golds[:1] + history.golds[-1:] if len(history.golds) > 1 else history.golds
        )
        if domain in event.domains
        for i, text, score in zip(
            event.domains[domain].ids,
            event.domains[domain].texts,
            event.domains[domain].scores,
            strict=True,
        )
        if i in by_id
    ]
    if not rows:
        return Control.not_tested(name, "the domain has no gold score")
    ratings = expert.rate([query for query, _, _ in rows], [text for _, text, _ in rows])
    pairs = [
        (rating.value, score)
        for rating, (_, _, score) in zip(ratings, rows, strict=True)
        if rating.value is not None
    ]
    if len(pairs) < 8:
        return Control.not_tested(name, f"{len(pairs)} gold answers have a rating")
    values = np.array(pairs)
    r = correlation(values[:, 0], values[:, 1])
    text = (
        f"over {len(pairs)} answers behind the gold score, which the loop never saw, the rank "
        f"correlation is {r.mean:.2f} [{r.low:.2f}, {r.high:.2f}]"
    )
    figures = {"correlation": r.mean, "ci95": [r.low, r.high], "answers": len(pairs)}
    if r.high < LEAST_CORRELATION or r.high < 0:
        return Control(name, False, f"{text} (must not exclude {LEAST_CORRELATION})", figures)
    if r.low > 0:
        return Control(name, True, f"{text} (must exclude 0)", figures)
    return Control(name, None, f"{text}: too few answers to tell", figures)
