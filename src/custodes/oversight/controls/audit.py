"""The audit at the end of a run: its Experts and its User are examined again.

The log is not enough to tell whether ratings were right. Here every Expert, and every member of an
ensemble, rates once more: answers of the log (are the logged ratings its own?), the answers behind
the gold score (does it agree with a measurement that the loop never saw?), and pairs whose order
nobody doubts. All of it is drawn from the log, so that a resumed run has the same audit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from custodes.control import Control
from custodes.conversation import Query
from custodes.errors import CustodesError
from custodes.experts.expert import Expert
from custodes.experts.null import SimulatedExpert, simulated_pairs
from custodes.experts.sanity import sanity_control
from custodes.oversight.controls.unseen import gold_unseen_in_log
from custodes.oversight.events import StepEvent
from custodes.oversight.gold.score import GoldMeasurement, GoldPanel
from custodes.oversight.log import History
from custodes.oversight.users.domain_classifier import FOLDS, DomainClassifier
from custodes.statistics import correlation

__all__ = ["audit", "with_members"]

SAMPLE = 24
"""Logged answers that each Expert rates again."""
TOLERANCE = 0.05
"""How far a rating may be off when the same answer is rated again in another batch."""
OUT_OF_DOMAIN = 0.25
"""Share of a User's queries that may be of another domain, beyond the classifier's errors."""
CHANCE = 0.05
"""Too small a share of recognised queries is a failure where its p is at most this."""
LEAST_CORRELATION = 0.2
"""An Expert whose correlation with the gold score is below this does not measure its domain."""


class Audited(Protocol):
    """The roles that are examined: those of `custodes.oversight.loop.Roles`."""

    @property
    def experts(self) -> Mapping[str, Expert]:
        """The loop's Experts by domain."""
        ...

    @property
    def gold(self) -> GoldPanel:
        """The gold prompts and their scorers."""
        ...


def audit(roles: Audited, history: History) -> list[Control]:
    """Examine the Experts and the queries of a loop after its last step.

    Args:
        roles: Who is examined.
        history: The run's events.
    """
    controls = list(_in_domain(roles, history))
    controls += gold_unseen_in_log(history, roles.gold.queries)
    gold_queries = roles.gold.queries
    for domain, expert in roles.experts.items():
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
        yield _orders(expert, order).about(subject)
    except CustodesError as error:
        yield Control.not_tested(order, str(error)).about(subject)


def _orders(expert: Expert, name: str) -> Control:
    """Show the Expert pairs whose order nobody doubts."""
    pairs = simulated_pairs(expert.domain) if isinstance(expert, SimulatedExpert) else None
    return replace(sanity_control(expert, pairs), name=name)


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
    first_and_last = {id(gold): gold for gold in (*history.golds[:1], *history.golds[-1:])}
    ranks = [
        _ranks(expert, event.domains[domain], by_id)
        for event in first_and_last.values()
        if domain in event.domains
    ]
    values = np.concatenate([np.zeros((0, 2)), *ranks])
    if len(values) < 8:
        return Control.not_tested(name, f"{len(values)} gold answers have a rating")
    r = correlation(values[:, 0], values[:, 1])
    text = (
        f"over {len(values)} answers behind the gold score, which the loop never saw, the rank "
        f"correlation is {r.mean:.2f} [{r.low:.2f}, {r.high:.2f}]"
    )
    figures = {"correlation": r.mean, "ci95": [r.low, r.high], "answers": len(values)}
    if r.high < LEAST_CORRELATION or r.high < 0:
        return Control(name, False, f"{text} (must not exclude {LEAST_CORRELATION})", figures)
    if r.low > 0:
        return Control(name, True, f"{text} (must exclude 0)", figures)
    return Control(name, None, f"{text}: too few answers to tell", figures)


def _ranks(
    expert: Expert, gold: GoldMeasurement, queries: Mapping[str, Query]
) -> NDArray[np.float64]:
    """Return the ranks of the Expert's ratings and of the gold scores, (n, 2), each in (0, 1].

    Ranks are within one checkpoint's answers: a rise from one checkpoint to the next would make any
    two scores correlate.
    """
    from scipy.stats import rankdata

    rows = [
        (queries[i], text, score)
        for i, text, score in zip(gold.ids, gold.texts, gold.scores, strict=True)
        if i in queries
    ]
    ratings = expert.rate([query for query, _, _ in rows], [text for _, text, _ in rows])
    pairs = [
        (rating.value, score)
        for rating, (_, _, score) in zip(ratings, rows, strict=True)
        if rating.value is not None
    ]
    if not pairs:
        return np.zeros((0, 2))
    return np.asarray(rankdata(np.array(pairs), axis=0) / len(pairs))


def _in_domain(roles: Audited, history: History) -> Iterator[Control]:
    """Classify the queries of the log by their words, learnt from the gold prompts."""
    from scipy.stats import binom

    name = "User asks in the domain"
    examples = {d: [query.text for query in qs] for d, qs in roles.gold.queries.items()}
    if len(examples) < 2 or min(map(len, examples.values())) < 4 * FOLDS:
        yield Control.not_tested(name, "there are too few prompts to learn the domains from")
        return
    classifier = DomainClassifier(examples)
    for domain in examples:
        texts = {
            query.text
            for event in history.steps
            for query in event.queries
            if query.domain == domain
        }
        if len(texts) < 2 * FOLDS:
            yield Control.not_tested(f"{name}: {domain}", f"{len(texts)} queries were asked in it")
            continue
        recognised = sum(d == domain for d in classifier.predict(sorted(texts)))
        share, recall = recognised / len(texts), classifier.recall[domain]
        least = recall - OUT_OF_DOMAIN
        # Few queries can have other words by chance.
        p = float(binom.cdf(recognised, len(texts), max(0.0, least)))
        text = (
            f"{share:.0%} of {len(texts)} queries have the words of their domain; of prompts known "
            f"to be of it {recall:.0%} have (at least {least:.0%} must, p = {p:.2g})"
        )
        passed = True if share >= least else False if p <= CHANCE else None
        figures = {"share": share, "recall": recall, "queries": len(texts), "p": p}
        yield Control(f"{name}: {domain}", passed, text, figures)
