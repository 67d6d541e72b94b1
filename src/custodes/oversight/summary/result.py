"""A summary in Python and in notebooks: a dict that shows itself in a line or in a small view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from custodes.control import Control
from custodes.notebook import controls_line, frame, table_html, view_html

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RunSummary"]

COLUMNS = ("checkpoint", "step", "domain", "score", "low", "high", "change", "better", "prompts")


class RunSummary(dict[str, Any]):
    """The content of summary.json (docs/guide/oversee.md has its keys)."""

    @property
    def controls(self) -> list[Control]:
        """The controls, failed ones first."""
        return [Control.from_dict(row) for row in self["controls"]]

    def __repr__(self) -> str:
        """Return one line."""
        checkpoints = len({row["checkpoint"] for row in self["gold"]} - {0})
        return (
            f"<Run {self['name']!r}: {checkpoints} new checkpoint{'s' * (checkpoints != 1)}, "
            f"{'finished' if self['finished'] else 'not finished'}, "
            f"{controls_line(self.controls)}>"
        )

    def _repr_html_(self) -> str:
        """Return the outcome and the gold scores; every text is escaped."""
        verdict = self["verdict"]
        said = verdict.get("outcome") or verdict["explanation"]
        title = said if isinstance(said, str) else " ".join(said)
        rows = [
            (
                row["checkpoint"],
                row["domain"],
                f"{row['score']:.2f} [{row['ci95'][0]:.2f}, {row['ci95'][1]:.2f}]",
                "" if row["change"] is None else f"{row['change']:+.2f}",
            )
            for row in self["gold"]
        ]
        parts = [f"<p>{controls_line(self.controls)}</p>"]
        if rows:
            parts.append(table_html(("checkpoint", "domain", "gold score [95%]", "change"), rows))
        return view_html(title, self.controls, parts)

    def to_frame(self) -> pd.DataFrame:
        """Return the gold scores as a pandas data frame, a row for each checkpoint and domain."""
        rows = [row | {"low": row["ci95"][0], "high": row["ci95"][1]} for row in self["gold"]]
        return frame([{name: row[name] for name in COLUMNS} for row in rows], COLUMNS)

    def to_dict(self) -> dict[str, Any]:
        """Return it as a plain dict, JSON-ready."""
        return dict(self)
