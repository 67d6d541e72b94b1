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

    def __repr__(self) -> str:
        """Return one line."""
        drift = cast("Drift", self)
        later, drifted = len(drift.names) - 1, len(drift.drifted)
        return (
            f"<Drift of {later} generation{'s' * (later != 1)} from {drift.names[0]!r} on "
            f"{drift.prompts} prompts: {drifted} of {len(drift.behaviours)} behaviours drifted, "
            f"{controls_line(drift.controls)}>"
        )

    def _repr_html_(self) -> str:
        """Return what drifted, with examples; every text is escaped."""
        drift = cast("Drift", self)
        from custodes.drift.output import drift_json

        content = drift_json(drift)
        n = len(drift.drifted)
        title = (
            f"{n} behaviour{'s' * (n != 1)} drifted from {drift.names[0]}."
            if n
            else f"No drift from {drift.names[0]} was detected."
        )
        parts = [f"<p>{controls_line(drift.controls)}</p>"]
        drifted = content["drifted"][:MOST_BEHAVIOURS]
        if drifted:
            rows = [_row(row) for row in drifted]
            head = ("behaviour", "detected at generation", "first", "last", "trajectory")
            parts.append(table_html(head, rows))
        for row in drifted:
            for example in row["examples"][:MOST_EXAMPLES]:
                texts = [
                    Example(drift.names[0], example["first"], example["spans_first"]),
                    Example(
                        drift.names[example["generation"]], example["now"], example["spans_now"]
                    ),
                ]
                parts.append(example_html(row["statement"], example["prompt"], texts))
        return view_html(title, drift.controls, parts)

    def to_frame(self) -> pd.DataFrame:
        """Return the behaviours that drifted as a data frame, a row for each later generation."""
        drift = cast("Drift", self)
        rows = [
            {
                "statement": behaviour.statement,
                "generation": generation,
                "name": drift.names[generation],
                "rate_before": size.rate_a,
                "rate": size.rate_b,
                "effect": size.effect,
                "low": size.low,
                "high": size.high,
                "detected_at": behaviour.detected_at,
                "trajectory": behaviour.trajectory,
            }
            for behaviour in drift.drifted
            for generation, size in enumerate(behaviour.sizes, start=1)
        ]
        return frame(rows, COLUMNS)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of drift.json, JSON-ready; docs/reference/drift.md explains it."""
        drift = cast("Drift", self)
        from custodes.drift.output import drift_json

        return drift_json(drift)


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    last = row["against_first"][-1]
    return (
        row["statement"],
        row["detected_at"],
        f"{last['rate_before']:.0%}",
        f"{last['rate']:.0%}",
        row["trajectory"],
    )
