"""A drift in Python and in notebooks: its line, its HTML view, its data frame and its dict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from custodes.notebook import Example, controls_line, example_html, frame, table_html, view_html

if TYPE_CHECKING:
    import pandas as pd

    from custodes.drift.lineage import Drift

__all__ = ["DriftDisplay"]

MOST_BEHAVIOURS, MOST_EXAMPLES = 20, 1
COLUMNS = (
    "statement",
    "generation",
    "name",
    "rate_before",
    "rate",
    "effect",
    "low",
    "high",
    "detected_at",
    "trajectory",
)


class DriftDisplay:
    """How a `Drift` shows itself."""

    @property
    def _drift(self) -> Drift:
        return cast("Drift", self)

    def __repr__(self) -> str:
        """Return one line."""
        later, drifted = len(self._drift.names) - 1, len(self._drift.drifted)
        return (
            f"<Drift of {later} generation{'s' * (later != 1)} from {self._drift.names[0]!r} on "
            f"{self._drift.prompts} prompts: {drifted} of {len(self._drift.behaviours)} behaviours "
            "drifted, "
            f"{controls_line(self._drift.controls)}>"
        )

    def _repr_html_(self) -> str:
        """Return what drifted, with examples; every text is escaped."""
        from custodes.drift.output import drift_json

        content = drift_json(self._drift)
        n = len(self._drift.drifted)
        title = (
            f"{n} behaviour{'s' * (n != 1)} drifted from {self._drift.names[0]}."
            if n
            else f"No drift from {self._drift.names[0]} was detected."
        )
        parts = [f"<p>{controls_line(self._drift.controls)}</p>"]
        drifted = content["drifted"][:MOST_BEHAVIOURS]
        if drifted:
            rows = [_row(row) for row in drifted]
            head = ("behaviour", "detected at generation", "first", "last", "trajectory")
            parts.append(table_html(head, rows))
        for row in drifted:
            for example in row["examples"][:MOST_EXAMPLES]:
                texts = [
                    Example(self._drift.names[0], example["first"], example["spans_first"]),
                    Example(
                        self._drift.names[example["generation"]],
                        example["now"],
                        example["spans_now"],
                    ),
                ]
                parts.append(example_html(row["statement"], example["prompt"], texts))
        return view_html(title, self._drift.controls, parts)

    def to_frame(self) -> pd.DataFrame:
        """Return the behaviours that drifted as a data frame, a row for each later generation."""
        rows = [
            {
                "statement": behaviour.statement,
                "generation": generation,
                "name": self._drift.names[generation],
                "rate_before": size.rate_a,
                "rate": size.rate_b,
                "effect": size.effect,
                "low": size.low,
                "high": size.high,
                "detected_at": behaviour.detected_at,
                "trajectory": behaviour.trajectory,
            }
            for behaviour in self._drift.drifted
            for generation, size in enumerate(behaviour.sizes, start=1)
        ]
        return frame(rows, COLUMNS)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of drift.json, JSON-ready; docs/reference/drift.md explains it."""
        from custodes.drift.output import drift_json

        return drift_json(self._drift)


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    last = row["against_first"][-1]
    return (
        row["statement"],
        row["detected_at"],
        f"{last['rate_before']:.0%}",
        f"{last['rate']:.0%}",
        row["trajectory"],
    )
