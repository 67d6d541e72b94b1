"""Controls: for every result, the check that would have exposed it if it were wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Control", "failed", "ordered"]

Status = Literal["passed", "failed", "not tested"]
_ORDER: dict[Status, int] = {"failed": 0, "not tested": 1, "passed": 2}


@dataclass(frozen=True)
class Control:
    """One check that could have failed.

    Attributes:
        name: What is guarded, e.g. "weights moved: checkpoint 1".
        passed: Whether it held; None where it could not be computed, which is neither.
        explanation: One sentence: the measured figures, and what they had to be. Where nothing
            was computed, why.
        figures: The measured values by name, JSON-ready.
    """

    name: str
    passed: bool | None
    explanation: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def not_tested(cls, name: str, reason: str) -> Control:
        """Return a control that could not be computed, and why."""
        return cls(name, None, reason)

    @property
    def status(self) -> Status:
        """The verdict in a word."""
        if self.passed is None:
            return "not tested"
        return "passed" if self.passed else "failed"

    def about(self, subject: str) -> Control:
        """Return the same control with what it is about appended to its name."""
        return Control(f"{self.name}: {subject}", self.passed, self.explanation, self.figures)

    def to_dict(self) -> dict[str, Any]:
        """Return it JSON-ready; `from_dict` reads it back."""
        return {
            "name": self.name,
            "passed": self.passed,
            "explanation": self.explanation,
            "figures": dict(self.figures),
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Control:
        """Read back what `to_dict` returned."""
        return cls(row["name"], row["passed"], row["explanation"], row.get("figures", {}))


def ordered(controls: Iterable[Control]) -> list[Control]:
    """Put failed controls first, then those not tested; otherwise the order stays."""
    return sorted(controls, key=lambda control: _ORDER[control.status])


def failed(controls: Iterable[Control]) -> list[Control]:
    """Return the controls that failed, in their order."""
    return [control for control in controls if control.passed is False]
