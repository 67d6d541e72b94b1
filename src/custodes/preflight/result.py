"""What a check returns, and the report that collects them."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from custodes.control import Control
from custodes.errors import CustodesError

__all__ = ["Layer", "NotTestable", "PreflightError", "Report", "Result", "TokenRow", "Verdict"]

Layer = Literal["data", "batch", "step", "reward"]
LAYERS: tuple[Layer, ...] = ("data", "batch", "step", "reward")


class PreflightError(CustodesError):
    """A trainer that failed its preflight."""


class NotTestable(Exception):  # noqa: N818 - it is a verdict and not a fault
    """A check that could not be computed; the message says why."""


@dataclass(frozen=True)
class Verdict:
    """What one check found.

    Attributes:
        passed: Whether it held; None where it could not be computed.
        explanation: One sentence with the measured figures, or why there are none.
        measured: The measured values by name, JSON-ready.
    """

    passed: bool | None
    explanation: str
    measured: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """One check of a trainer.

    Attributes:
        id: Name of the check, e.g. "weights-move".
        layer: "data", "batch", "step" or "reward".
        passed: Whether it held; None where it could not be computed.
        explanation: One sentence with the measured figures, or why there are none.
        measured: The measured values by name, JSON-ready.
        expected: What would have passed.
        remedy: What to change, with the option's name.
        reference: An issue or paper where the bug cost somebody a run.
        seconds: Wall-clock time of the check.
    """

    id: str
    layer: Layer
    passed: bool | None
    explanation: str
    measured: Mapping[str, Any]
    expected: str
    remedy: str
    reference: str
    seconds: float = 0.0

    @property
    def control(self) -> Control:
        """The same as a `Control`, the type that all rooms share."""
        return Control(self.id, self.passed, self.explanation, self.measured)

    @property
    def status(self) -> str:
        """ "failed", "not tested" or "passed"."""
        return self.control.status

    def to_dict(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {
            "id": self.id,
            "layer": self.layer,
            "status": self.status,
            "passed": self.passed,
            "explanation": self.explanation,
            "measured": dict(self.measured),
            "expected": self.expected,
            "remedy": self.remedy,
            "reference": self.reference,
            "seconds": round(self.seconds, 4),
        }


@dataclass(frozen=True)
class TokenRow:
    """One row of a real batch, as text.

    Attributes:
        name: e.g. "row 0, chosen".
        tokens: Pairs of a token's text and its part: "trained", "context" or "padding".
        note: What to look at, e.g. "the last trained token is an end token".
    """

    name: str
    tokens: tuple[tuple[str, str], ...]
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {
            "name": self.name,
            "note": self.note,
            "tokens": [list(pair) for pair in self.tokens],
        }


@dataclass(frozen=True)
class Report:
    """All results of one preflight.

    Attributes:
        trainer: Class of the trainer, with its versions.
        results: Every check, in the order they ran.
        rows: Decoded rows of a real batch.
        seconds: Wall-clock time of the whole.
        rank: Of this process.
    """

    trainer: str
    results: tuple[Result, ...]
    rows: tuple[TokenRow, ...] = ()
    seconds: float = 0.0
    rank: int = 0

    @property
    def ordered(self) -> list[Result]:
        """Failed checks first, then those not tested, then those that passed."""
        place = {"failed": 0, "not tested": 1, "passed": 2}
        return sorted(self.results, key=lambda result: place[result.status])

    @property
    def failed(self) -> list[Result]:
        """The checks that failed."""
        return [result for result in self.results if result.passed is False]

    @property
    def passed(self) -> list[Result]:
        """The checks that passed."""
        return [result for result in self.results if result.passed]

    @property
    def not_tested(self) -> list[Result]:
        """The checks that could not be computed."""
        return [result for result in self.results if result.passed is None]

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    def __getitem__(self, id: str) -> Result:
        for result in self.results:
            if result.id == id:
                return result
        raise KeyError(id)

    def raise_if_failed(self) -> None:
        """Stop here when a check failed.

        Raises:
            PreflightError: Names every failed check with its remedy.
        """
        if self.ok:
            return
        lines = "; ".join(f"{one.id}: {one.explanation}" for one in self.failed)
        raise PreflightError(f"preflight failed: {lines}", self.failed[0].remedy)

    def to_dict(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {
            "trainer": self.trainer,
            "ok": self.ok,
            "failed": [one.id for one in self.failed],
            "seconds": round(self.seconds, 3),
            "results": [one.to_dict() for one in self.results],
            "rows": [row.to_dict() for row in self.rows],
        }

    def to_json(self) -> str:
        """Return it as a JSON document; numbers that are not finite become strings."""
        return json.dumps(_finite(self.to_dict()), indent=2, allow_nan=False)

    def to_html(self) -> str:
        """Return a page that opens offline and runs no script."""
        from custodes.preflight.output.page import page

        return page(self)

    def __str__(self) -> str:
        from custodes.preflight.output.terminal import table

        return table(self)

    def _repr_html_(self) -> str:
        from custodes.preflight.output.page import body, style

        return f"<style>{html.escape(style(), quote=False)}</style>{body(self)}"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return str(value)
