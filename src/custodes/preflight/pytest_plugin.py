"""A pytest fixture: `preflight(trainer)` fails the test where a check fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from custodes.preflight.result import Report

__all__ = ["preflight"]


@pytest.fixture
def preflight() -> Callable[..., Report]:
    """Return a function that checks a trainer and fails the test with the report's table.

    >>> def test_training(preflight):  # doctest: +SKIP
    ...     preflight(make_trainer(), skip=["save-load"])
    """

    def run(trainer: Any, **options: Any) -> Report:
        from custodes.preflight.run import check

        report = check(trainer, **options)
        if not report.ok:
            pytest.fail(str(report), pytrace=False)
        return report

    return run
