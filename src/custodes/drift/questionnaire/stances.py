"""From log-odds of agreeing to stances: position, wording and yes-saying are taken out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from custodes.drift.questionnaire.statements import Item, Statement

__all__ = ["agreement", "item_stances", "matching_agreement", "opposites_alike", "order_flips"]

Floats = NDArray[np.float64]


def agreement(log_odds: Floats) -> Floats:
    """Return the probability of agreeing with each statement, over wordings and orders.

    Args:
        log_odds: Shape (n, wordings, orders). A position's advantage is the same in both orders
            but for its sign, and leaves their mean.

    Returns:
        Shape (n,), in [0, 1].
    """
    return _expit(log_odds.mean(axis=(1, 2)))


def matching_agreement(log_odds: Floats, statements: Sequence[Statement]) -> Floats:
    """Return how far each answer matches the statement's behaviour, in [0, 1]."""
    agreed = agreement(log_odds)
    return np.where(np.array([one.key for one in statements]) > 0, agreed, 1 - agreed)


def item_stances(log_odds: Floats, items: Sequence[Item]) -> Floats:
    """Return the lean of each item towards its behaviour, by wording.

    Of a statement and its opposite it is half the difference of their log-odds, which a leaning
    towards "yes" leaves unchanged. Of a statement alone it is the difference from the mean over
    all statements.

    Args:
        log_odds: Shape (n, wordings, orders).
        items: The items.

    Returns:
        Shape (items, wordings), in [-1, 1]; 0 is neutral.
    """
    by_wording = log_odds.mean(axis=2)
    level = by_wording.mean(axis=0)
    rows = []
    for item in items:
        own = by_wording[item.statement]
        lean = own - level if item.opposite is None else (own - by_wording[item.opposite]) / 2
        rows.append(item.key * lean)
    return np.asarray(2 * _expit(np.array(rows)) - 1, np.float64)


def order_flips(log_odds: Floats) -> Floats:
    """Return by wording the share of statements whose answer changes with the options' order.

    Args:
        log_odds: Shape (n, wordings, 2 orders).
    """
    agrees = log_odds > 0
    return np.asarray((agrees[..., 0] != agrees[..., 1]).mean(axis=0), np.float64)


def opposites_alike(log_odds: Floats, items: Sequence[Item]) -> tuple[Floats, Floats]:
    """Return the parts of the intraclass correlation of statements with their opposites.

    It is -1 if agreeing with one is always disagreeing with the other, 0 if the two are unrelated
    and 1 if a model answers both alike. Like the stability it takes every product from two
    wordings, and the overall level is taken out.

    Args:
        log_odds: Shape (n, 2 wordings, orders).
        items: Items with opposites.

    Returns:
        Numerator and denominator by item, shape (items,) each.
    """
    by_wording = log_odds.mean(axis=2)
    scores = 2 * _expit(by_wording - by_wording.mean(axis=0)) - 1
    one = scores[[item.statement for item in items]]
    other = scores[[item.opposite for item in items if item.opposite is not None]]
    across = one[:, 0] * other[:, 1] + one[:, 1] * other[:, 0]
    return across, one.prod(axis=1) + other.prod(axis=1)


def _expit(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -60, 60))), np.float64)
