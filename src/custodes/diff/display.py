"""A diff in Python and in notebooks: its line, its HTML view, its data frame and its dict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from custodes.notebook import Example, controls_line, example_html, frame, table_html, view_html

if TYPE_CHECKING:
    import pandas as pd

    from custodes.diff.compare import Diff
    from custodes.diff.inference.findings import Finding

__all__ = ["DiffDisplay"]

MOST_FINDINGS, MOST_EXAMPLES = 20, 2
COLUMNS = (
    "id",
    "kind",
    "statement",
    "behaviour",
    "condition",
    "rate_a",
    "rate_b",
    "effect",
    "low",
    "high",
    "p",
    "q",
)


class DiffDisplay:
    """How a `Diff` shows itself."""

    def __repr__(self) -> str:
        """Return one line."""
        diff = cast("Diff", self)
        a, b = diff.aligned.names
        n, p = diff.aligned.n, len(diff.findings)
        return (
            f"<Diff of {a!r} and {b!r} on {n} prompt{'s' * (n != 1)}: {p} finding{'s' * (p != 1)}, "
            f"global p = {diff.global_test.p:.2g}, {controls_line([diff.aa_run.control])}>"
        )

    def _repr_html_(self) -> str:
        """Return the findings with examples; every text is escaped."""
        diff = cast("Diff", self)
        a, b = diff.aligned.names
        rows = [_row(finding) for finding in diff.findings[:MOST_FINDINGS]]
        parts = [f"<p>{controls_line([diff.aa_run.control])}</p>"]
        if rows:
            parts.append(
                table_html(
                    ("finding", "share of A's answers", "of B's", "points [95% interval]", "q"),
                    rows,
                )
            )
        if len(diff.findings) > MOST_FINDINGS:
            parts.append(f"<p>and {len(diff.findings) - MOST_FINDINGS} more: to_frame()</p>")
        parts += [
            part for finding in diff.findings[:MOST_FINDINGS] for part in _examples(diff, finding)
        ]
        title = getattr(diff, "outcome", None) or _title(diff)
        if (a, b) != ("A", "B"):
            title = f"{title} A is {a}, B is {b}."
        return view_html(title, [diff.aa_run.control], parts)

    def to_frame(self) -> pd.DataFrame:
        """Return the findings as a pandas data frame, a row each; rates and effect in [-1, 1]."""
        diff = cast("Diff", self)
        sizes = ("rate_a", "rate_b", "effect", "low", "high")
        rows = [
            {name: getattr(f.size if name in sizes else f, name) for name in COLUMNS}
            for f in diff.findings
        ]
        return frame(rows, COLUMNS)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of diff.json, JSON-ready; docs/reference/diff.md explains it."""
        diff = cast("Diff", self)
        from custodes.diff.output import diff_json

        return diff_json(diff)


def _title(diff: Diff) -> str:
    n, p = len(diff.findings), diff.global_test.p
    if not n:
        return f"No difference was found (global p = {p:.2g})."
    return f"{n} difference{'s were' if n > 1 else ' was'} found (global p = {p:.2g})."


def _row(finding: Finding) -> tuple[str, ...]:
    size = finding.size
    interval = f"{100 * size.effect:+.1f} [{100 * size.low:+.1f}, {100 * size.high:+.1f}]"
    return (
        finding.statement,
        f"{size.rate_a:.0%}",
        f"{size.rate_b:.0%}",
        interval,
        f"{finding.q:.2g}",
    )


def _examples(diff: Diff, finding: Finding) -> list[str]:
    from custodes.diff.examples import example_rows

    parts = []
    for row in example_rows(diff, finding)[:MOST_EXAMPLES]:
        examples = [
            Example(name, row[side], row[f"spans_{side}"])
            for side, name in zip("ab", diff.aligned.names, strict=True)
            if row[side] is not None
        ]
        parts.append(example_html(f"{finding.id}: {finding.statement}", row["prompt"], examples))
    return parts
