"""From a judge's grades to ratings in [0, 1]: a table of ten numbers, however it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from custodes.errors import ConfigError, DataError, near_misses

__all__ = ["Calibration"]

GRADES = 10
LEAST_GRADES = 20


@dataclass(frozen=True)
class Calibration:
    """A monotone map of the grades 1 to 10.

    Attributes:
        method: "linear", "isotonic" or "platt".
        table: The rating of each grade, never falling, each in [0, 1].
        n: Labelled responses it was fitted on; 0 for the linear one.
    """

    method: str
    table: tuple[float, ...]
    n: int = 0

    def __call__(self, grade: int) -> float:
        """Map a grade (1 to 10)."""
        return self.table[grade - 1]

    @staticmethod
    def linear() -> Calibration:
        """Return (grade - 1) / 9: 1 is 0, 10 is 1; says nothing about probabilities."""
        return Calibration("linear", tuple(i / (GRADES - 1) for i in range(GRADES)))

    @staticmethod
    def fit(
        chosen: Sequence[int],
        rejected: Sequence[int],
        method: Literal["isotonic", "platt"] = "isotonic",
    ) -> Calibration:
        """Fit the probability that a response of that grade is one that people chose.

        Args:
            chosen: Grades of preferred responses.
            rejected: Grades of the ones they were preferred to.
            method: ``isotonic`` (pool adjacent violators) or ``platt`` (logistic in the grade; a
                judge whose grades run backwards gets a flat map, never a falling one).

        Raises:
            DataError: There are too few grades, or only of one kind.
            ConfigError: No such method.
        """
        if method not in ("isotonic", "platt"):
            raise ConfigError(
                f"no calibration {method!r}", near_misses(method, ("isotonic", "platt"))
            )
        n = len(chosen) + len(rejected)
        if not chosen or not rejected or n < LEAST_GRADES:
            raise DataError(
                f"{len(chosen)} grades of chosen and {len(rejected)} of rejected responses are too "
                "few to calibrate on",
                f"give both kinds, {LEAST_GRADES} or more together",
            )
        grades = np.array([*chosen, *rejected], dtype=np.float64)
        labels = np.repeat([1, 0], [len(chosen), len(rejected)])
        every = np.arange(1, GRADES + 1, dtype=np.float64)
        if method == "isotonic":
            from sklearn.isotonic import IsotonicRegression

            model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
            table = model.fit(grades, labels).predict(every)
        else:
            from sklearn.linear_model import LogisticRegression

            logistic = LogisticRegression().fit(grades[:, None], labels)
            table = logistic.predict_proba(every[:, None])[:, 1]
            if logistic.coef_[0, 0] < 0:
                table = np.full(GRADES, labels.mean())
        return Calibration(method, tuple(float(value) for value in table), n)
